/** Files in encrypted rooms, with the attachment code that apps on this SDK use. */

import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import attachments from "matrix-encrypt-attachment";

async function upload(person, path) {
    const plain = await readFile(path);
    const exact = plain.buffer.slice(plain.byteOffset, plain.byteOffset + plain.byteLength);
    const { data, info } = await attachments.encryptAttachment(exact);
    const answer = await person.client.uploadContent(new Blob([data]), { type: "application/octet-stream" });
    return [{ ...info, url: answer.content_uri }, plain.byteLength];
}

export const verbs = {
    /** Send what is at `path` under a name and type of its own, with a thumbnail if there is one. */
    async send_file(person, { room, path, name, mimetype, thumbnail }) {
        const [file, size] = await upload(person, path);
        const info = { mimetype, size };
        if (thumbnail) {
            [info.thumbnail_file, info.thumbnail_info] = await upload(person, thumbnail).then(([made, length]) => [
                made,
                { mimetype, size: length },
            ]);
        }
        const msgtype = mimetype.startsWith("image/") ? "m.image" : "m.file";
        const content = { msgtype, body: name, filename: name, info, file };
        return (await person.client.sendEvent(room, "m.room.message", content)).event_id;
    },

    /** Fetch, check and decrypt the file (or its thumbnail) of a message into `path`; returns its size and SHA-256. */
    async save_file(person, { room, event, path, thumbnail = false }) {
        const content = person.event(room, event).getContent();
        const file = thumbnail ? content.info.thumbnail_file : content.file;
        const url = person.client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true);
        const answer = await fetch(url, { headers: { Authorization: `Bearer ${person.access.accessToken}` } });
        if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
        const plain = Buffer.from(await attachments.decryptAttachment(await answer.arrayBuffer(), file));
        await writeFile(path, plain, { mode: 0o600 });
        return { size: plain.byteLength, sha256: createHash("sha256").update(plain).digest("hex") };
    },
};
