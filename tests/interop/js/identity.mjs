/** Cross-signing, secret storage and the key backup, as an app on this SDK drives them. */

import { decodeRecoveryKey, deriveRecoveryKeyFromPassphrase } from "matrix-js-sdk/lib/crypto-api/index.js";
import { AllDevicesIsolationMode, OnlySignedDevicesIsolationMode } from "matrix-js-sdk/lib/crypto-api/index.js";
import { passwordAnswer } from "./person.mjs";

const SECRETS = [
    "m.cross_signing.master",
    "m.cross_signing.self_signing",
    "m.cross_signing.user_signing",
    "m.megolm_backup.v1",
];

/** The keys of secret storage that this person knows, and those that were typed in and are still to be tried. */
export class KeyRing {
    known = new Map();
    typed = [];

    keep(id, key) {
        this.known.set(id, key);
    }

    async keyFor(client, { keys }) {
        for (const [id, info] of Object.entries(keys)) {
            if (this.known.has(id)) return [id, this.known.get(id)];
            for (const attempt of this.typed) {
                const key = await attempt(info);
                if (key && (await client.secretStorage.checkKey(key, info))) {
                    this.keep(id, key);
                    return [id, key];
                }
            }
        }
        return null;
    }
}

function uia(person) {
    return async (request) => {
        try {
            return await request(null);
        } catch (error) {
            if (error.httpStatus !== 401) throw error;
            return request(passwordAnswer(person, error.data?.session));
        }
    };
}

export const verbs = {
    /** Which devices get keys and whose messages are read: all, or those that their owner signed. */
    isolation(person, { only_signed }) {
        person.crypto.setDeviceIsolationMode(
            only_signed ? new OnlySignedDevicesIsolationMode() : new AllDevicesIsolationMode(false),
        );
    },

    async cross_sign(person, { anew = false }) {
        await person.crypto.bootstrapCrossSigning({
            setupNewCrossSigning: anew,
            authUploadDeviceSigningKeys: uia(person),
        });
    },

    /** Make secret storage (and a backup); returns the recovery key as it is shown to people. */
    async set_up_recovery(person, { passphrase, backup = true }) {
        const made = await person.crypto.createRecoveryKeyFromPassphrase(passphrase);
        await person.crypto.bootstrapSecretStorage({
            createSecretStorageKey: async () => made,
            setupNewSecretStorage: true,
            setupNewKeyBackup: backup,
        });
        return made.encodedPrivateKey;
    },

    /** Type in a recovery key or a passphrase; returns the names of the secrets that it opens. */
    async recover(person, { key, passphrase }) {
        person.keyRing.typed = [
            async (info) =>
                key !== undefined
                    ? decodeRecoveryKey(key)
                    : deriveRecoveryKeyFromPassphrase(
                          passphrase,
                          info.passphrase.salt,
                          info.passphrase.iterations,
                          info.passphrase.bits,
                      ),
        ];
        const opened = [];
        for (const name of SECRETS) {
            if ((await person.client.secretStorage.isStored(name)) === null) continue;
            if (await person.client.secretStorage.get(name)) opened.push(name);
        }
        if (opened.includes("m.cross_signing.master")) {
            await person.crypto.userHasCrossSigningKeys(person.access.userId, true);
            await person.crypto.bootstrapCrossSigning({});
        }
        if (opened.includes("m.megolm_backup.v1")) {
            await person.crypto.loadSessionBackupPrivateKeyFromSecretStorage();
            await person.crypto.checkKeyBackupAndEnable();
        }
        return opened;
    },

    async recovery_state(person) {
        return {
            storage: await person.crypto.isSecretStorageReady(),
            cross_signing: await person.crypto.isCrossSigningReady(),
            ...(await person.crypto.getCrossSigningStatus()).privateKeysCachedLocally,
        };
    },

    async backup_state(person) {
        if ((await person.crypto.getKeyBackupInfo()) === null) return { version: null };
        // The SDK remembers what it saw first; how many keys there are now, the server knows.
        const info = await person.client.http.authedRequest("GET", "/room_keys/version", undefined, undefined, {
            prefix: "/_matrix/client/v3",
        });
        return {
            version: info.version,
            count: info.count,
            active: await person.crypto.getActiveSessionBackupVersion(),
            ...(await person.crypto.isKeyBackupTrusted(info)),
        };
    },

    async restore(person) {
        const steps = [];
        const result = await person.crypto.restoreKeyBackup({ progressCallback: (step) => steps.push(step) });
        return { ...result, steps: steps.length };
    },

    async new_backup(person) {
        await person.crypto.resetKeyBackup();
    },

    async delete_backup(person) {
        const info = await person.crypto.getKeyBackupInfo();
        await person.crypto.deleteKeyBackupVersion(info.version);
    },

    /** What this person believes about somebody and their devices. */
    async trust(person, { user }) {
        const devices = (await person.crypto.getUserDeviceInfo([user], true)).get(user) ?? new Map();
        const status = await person.crypto.getUserVerificationStatus(user);
        const shown = {};
        for (const id of devices.keys()) {
            const device = await person.crypto.getDeviceVerificationStatus(user, id);
            shown[id] = {
                verified: device?.crossSigningVerified ?? false,
                signed: device?.signedByOwner ?? false,
            };
        }
        return {
            verified: status.isCrossSigningVerified(),
            was: status.wasCrossSigningVerified(),
            known: status.known,
            needs_approval: status.needsUserApproval,
            has_identity: await person.crypto.userHasCrossSigningKeys(user, true),
            devices: shown,
        };
    },

    async pin(person, { user }) {
        await person.crypto.pinCurrentUserIdentity(user);
    },
};
