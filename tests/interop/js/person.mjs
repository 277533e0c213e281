/** One signed-in device: sync, rooms, messages, and its store of Olm sessions. */

import { createClient, MemoryStore } from "matrix-js-sdk";
import { RustBackupManager } from "matrix-js-sdk/lib/rust-crypto/backup.js";
import { logger } from "matrix-js-sdk/lib/logger.js";
import { KeyRing } from "./identity.mjs";
import { Verifications } from "./verification.mjs";

// Otherwise up to ten seconds pass before a key goes into the backup.
RustBackupManager.maxBackupLoopStartDelayMillis = 200;
logger.setLevel("warn");

const ENCRYPTION = { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } };

/** What `look` finds, once it finds something. */
export async function until(what, look, withinMs = 30_000) {
    const end = Date.now() + withinMs;
    for (;;) {
        const found = await look();
        if (found) return found;
        if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

export class Person {
    constructor(access, password, storePrefix) {
        this.access = access;
        this.password = password;
        this.storePrefix = storePrefix;
        this.keyRing = new KeyRing();
    }

    static async login({ homeserver, user, password, device_name, kept = false }) {
        const answer = await createClient({ baseUrl: homeserver }).loginRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user },
            password,
            initial_device_display_name: device_name,
        });
        const access = {
            baseUrl: homeserver,
            userId: answer.user_id,
            deviceId: answer.device_id,
            accessToken: answer.access_token,
        };
        const person = new Person(access, password, kept ? `peer-${answer.device_id}` : null);
        await person.start();
        return person;
    }

    /** Begin (again) with what the crypto store has; the rooms come anew from the server. */
    async start() {
        const getSecretStorageKey = (wanted, name) => this.keyRing.keyFor(this.client, wanted, name);
        this.client = createClient({
            ...this.access,
            store: new MemoryStore(),
            timelineSupport: true,
            cryptoCallbacks: {
                getSecretStorageKey,
                cacheSecretStorageKey: (id, _info, key) => this.keyRing.keep(id, key),
            },
            verificationMethods: [
                "m.sas.v1",
                "m.qr_code.show.v1",
                "m.qr_code.scan.v1",
                "m.reciprocate.v1",
            ],
        });
        const store = this.storePrefix === null ? { useIndexedDB: false } : { cryptoDatabasePrefix: this.storePrefix };
        await this.client.initRustCrypto(store);
        this.verifications = new Verifications(this.client);
        await this.client.startClient({ initialSyncLimit: 500, pollTimeout: 10_000 });
        await until("the first sync", () => this.client.isInitialSyncComplete());
    }

    stop() {
        this.client.stopClient();
    }

    get crypto() {
        return this.client.getCrypto();
    }

    me() {
        return { user_id: this.access.userId, device_id: this.access.deviceId };
    }

    /** Every event of the room that is a message or should be one, oldest first; none in a room that is not known. */
    events(roomId) {
        const events = this.client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
        return events.filter((event) => event.isEncrypted() || event.getType() === "m.room.message");
    }

    event(roomId, eventId) {
        const found = this.events(roomId).find((event) => event.getId() === eventId);
        if (!found) throw new Error(`${eventId} has not come`);
        return found;
    }
}

async function shown(person, event) {
    await event.getDecryptionPromise();
    const content = event.getContent();
    const info = event.isEncrypted() ? await person.crypto.getEncryptionInfoForEvent(event) : null;
    return {
        event_id: event.getId(),
        sender: event.getSender(),
        type: event.getType(),
        body: event.isDecryptionFailure() ? null : (content.body ?? null),
        content: event.isDecryptionFailure() ? null : content,
        encrypted: event.isEncrypted(),
        why_not: event.isDecryptionFailure() ? event.decryptionFailureReason : null,
        session: event.getWireContent().session_id ?? null,
        shield: info?.shieldColour ?? null,
        shield_reason: info?.shieldReason ?? null,
    };
}

export const verbs = {
    me: (person) => person.me(),

    async create(person, { invite = [], direct = false, encrypted = true }) {
        const answer = await person.client.createRoom({
            preset: direct ? "trusted_private_chat" : "private_chat",
            is_direct: direct,
            invite,
            initial_state: encrypted ? [ENCRYPTION] : [],
        });
        const roomId = answer.room_id;
        await until("the new room", () => person.client.getRoom(roomId)?.hasEncryptionStateEvent() === encrypted);
        return roomId;
    },

    async invite(person, { room, user }) {
        await person.client.invite(room, user);
    },

    async join(person, { room }) {
        await until("the invitation", () => person.client.getRoom(room));
        await person.client.joinRoom(room);
        await until("the joined room", () => person.client.getRoom(room)?.getMyMembership() === "join");
    },

    async leave(person, { room }) {
        await person.client.leave(room);
    },

    members: (person, { room }) => (person.client.getRoom(room)?.getJoinedMembers() ?? []).map(({ userId }) => userId),

    async send(person, { room, text }) {
        const answer = await person.client.sendTextMessage(room, text);
        return answer.event_id;
    },

    async messages(person, { room }) {
        const all = await Promise.all(person.events(room).map((event) => shown(person, event)));
        return all.filter((row) => row.type === "m.room.message" || row.why_not !== null);
    },

    async discard(person, { room }) {
        await person.crypto.forceDiscardSession(room);
    },

    /** Stop to sync, and with that to renew one-time keys. */
    pause: (person) => person.stop(),

    async resume(person) {
        await person.start();
    },

    /** Lose every Olm session, as a store that was copied back or damaged does; the device and its keys stay. */
    async lose_sessions(person) {
        if (person.storePrefix === null) throw new Error("this person keeps no store");
        person.stop();
        const db = await asked(indexedDB.open(`${person.storePrefix}::matrix-sdk-crypto`));
        const work = db.transaction(["session"], "readwrite");
        const count = await asked(work.objectStore("session").count());
        await asked(work.objectStore("session").clear());
        db.close();
        await person.start();
        return count;
    },

    async logout(person) {
        person.client.stopClient();
        await person.client.logout(true);
    },

    async logout_device(person, { device }) {
        try {
            await person.client.deleteDevice(device);
        } catch (error) {
            await person.client.deleteDevice(device, passwordAnswer(person, error.data?.session));
        }
    },
};

/** The answer to a homeserver that asks for the password. */
export function passwordAnswer(person, session) {
    return {
        type: "m.login.password",
        identifier: { type: "m.id.user", user: person.access.userId },
        password: person.password,
        session,
    };
}

function asked(request) {
    return new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
        request.onblocked = () => reject(new Error("the store is open elsewhere"));
    });
}
