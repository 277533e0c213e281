/**
 * People with matrix-js-sdk and its Rust cryptography, without a screen.
 *
 * One JSON object a line on stdin, `{"number", "who", "do", ...}`, and one a line on stdout, `{"number", "value"}` or
 * `{"number", "error"}`. Each `who` is one signed-in device. Everything the SDK has to say goes to stderr. The process
 * ends with its stdin.
 */

import "fake-indexeddb/auto";
import { createInterface } from "node:readline";

for (const level of ["log", "info", "debug", "warn", "trace"]) {
    console[level] = (...words) => console.error(...words);
}

const { Person } = await import("./person.mjs");
const VERBS = Object.assign(
    {},
    (await import("./person.mjs")).verbs,
    (await import("./identity.mjs")).verbs,
    (await import("./verification.mjs")).verbs,
    (await import("./files.mjs")).verbs,
);

const people = new Map();

async function obey({ who, do: verb, ...words }) {
    if (verb === "login") {
        if (people.has(who)) throw new Error(`${who} is signed in already`);
        const person = await Person.login(words);
        people.set(who, person);
        return person.me();
    }
    const person = people.get(who);
    if (!person) throw new Error(`${who} is not signed in`);
    if (!Object.hasOwn(VERBS, verb)) throw new Error(`there is no verb ${verb}`);
    return VERBS[verb](person, words);
}

function say(answer) {
    process.stdout.write(`${JSON.stringify(answer)}\n`);
}

// What the SDK drops in the background must not end everybody.
process.on("unhandledRejection", (reason) => console.error("unhandled rejection:", reason));

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
    const { number, ...order } = JSON.parse(line);
    try {
        say({ number, value: (await obey(order)) ?? null });
    } catch (error) {
        console.error(error);
        say({ number, error: `${error?.name ?? "Error"}: ${error?.message ?? error}` });
    }
});
lines.on("close", () => process.exit(0));
say({ number: 0, value: process.version });
