/** Verification from either side, by SAS and by QR code. */

import { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent } from "matrix-js-sdk/lib/crypto-api/index.js";

const PHASES = Object.fromEntries(Object.entries(VerificationPhase).map(([name, value]) => [value, name.toLowerCase()]));

/** The requests of one device, with what its screen would show. */
export class Verifications {
    entries = [];

    constructor(client) {
        client.on(CryptoEvent.VerificationRequestReceived, (request) => this.add(request));
    }

    add(request) {
        const entry = { request, sas: null, qr: null, verifier: null, failed: null };
        this.entries.push(entry);
        request.on(VerificationRequestEvent.Change, () => this.follow(entry));
        this.follow(entry);
        return entry;
    }

    /** As soon as both have agreed on a way, go on with it; what a person must confirm waits. */
    follow(entry) {
        const verifier = entry.request.verifier;
        if (!verifier || verifier === entry.verifier) return;
        entry.verifier = verifier;
        verifier.on(VerifierEvent.ShowSas, (sas) => (entry.sas = sas));
        verifier.on(VerifierEvent.ShowReciprocateQr, (qr) => (entry.qr = qr));
        entry.sas = verifier.getShowSasCallbacks();
        entry.qr = verifier.getReciprocateQrCodeCallbacks();
        verifier.verify().catch((error) => (entry.failed = String(error?.message ?? error)));
    }

    find(id) {
        const entry = this.entries.find(({ request }) => request.transactionId === id);
        if (!entry) throw new Error("there is no such verification");
        return entry;
    }
}

function shown({ request, sas, qr, failed }) {
    return {
        id: request.transactionId,
        user: request.otherUserId,
        device: request.otherDeviceId ?? null,
        room: request.roomId ?? null,
        mine: request.initiatedByMe,
        phase: PHASES[request.phase],
        emoji: sas?.sas.emoji ?? null,
        numbers: sas?.sas.decimal ?? null,
        scanned: qr !== null,
        cancel_code: request.cancellationCode,
        failed,
    };
}

/** Let it go on, as a screen does; what becomes of it, the verification shows. */
function go(entry, promise) {
    promise.catch((error) => {
        console.error(error);
        entry.failed = String(error?.message ?? error);
    });
}

export const verbs = {
    /** Ask somebody in a room, one device of one's own, or all of them. */
    async verify(person, { user, room, device }) {
        let request;
        if (room) request = await person.crypto.requestVerificationDM(user, room);
        else if (device) request = await person.crypto.requestDeviceVerification(person.access.userId, device);
        else request = await person.crypto.requestOwnUserVerification();
        return shown(person.verifications.add(request));
    },

    verifications: (person) => person.verifications.entries.map(shown),

    verify_accept(person, { id }) {
        const entry = person.verifications.find(id);
        go(entry, entry.request.accept());
    },

    async verify_start(person, { id }) {
        const entry = person.verifications.find(id);
        await entry.request.startVerification("m.sas.v1");
        person.verifications.follow(entry);
    },

    verify_confirm(person, { id }) {
        const entry = person.verifications.find(id);
        if (entry.sas) go(entry, entry.sas.confirm());
        else if (entry.qr) entry.qr.confirm();
        else throw new Error("there is nothing to confirm");
    },

    verify_mismatch(person, { id }) {
        person.verifications.find(id).sas.mismatch();
    },

    verify_cancel(person, { id }) {
        const entry = person.verifications.find(id);
        go(entry, entry.request.cancel());
    },

    /** The code for the other side's camera, as base64. */
    async verify_code(person, { id }) {
        const code = await person.verifications.find(id).request.generateQRCode();
        return code === undefined ? null : Buffer.from(code).toString("base64");
    },

    async verify_scan(person, { id, code }) {
        const entry = person.verifications.find(id);
        await entry.request.scanQRCode(new Uint8ClampedArray(Buffer.from(code, "base64")));
        person.verifications.follow(entry);
    },
};
