-- Times are milliseconds since the epoch unless the name says otherwise. JSON is canonical text.

-- ── The session: one device for both programs ──────────────────────────────────────────────────
CREATE TABLE session (
  id            INTEGER PRIMARY KEY CHECK (id = 1),
  homeserver    TEXT NOT NULL,          -- base URL, no trailing slash
  user_id       TEXT NOT NULL,
  device_id     TEXT NOT NULL,
  access_token  TEXT,                   -- null once signed out
  state         TEXT NOT NULL,          -- signed_in | soft_logged_out | signed_out
  signed_in_at  INTEGER NOT NULL,
  refresh_token TEXT,                   -- gets the next access token; null where the server gives none, or took it back
  token_made_at INTEGER NOT NULL,       -- when the access token was asked for
  token_expires_at INTEGER              -- null: it does not run out, as far as we know
);
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;   -- small single facts, JSON
CREATE TABLE program (                  -- what each program last said of itself; its lock tells whether it runs
  role TEXT PRIMARY KEY, pid INTEGER, version TEXT, started_at INTEGER,
  state TEXT NOT NULL,                  -- starting | syncing | offline | signed_out | stopped
  detail TEXT NOT NULL DEFAULT '', seen_at INTEGER NOT NULL
) WITHOUT ROWID;

-- ── Sync: per connection (laws 1 and 13) ───────────────────────────────────────────────────────
CREATE TABLE connection (
  conn TEXT PRIMARY KEY,                -- app | notifier: the sliding-sync conn_id
  pos TEXT, since TEXT,                 -- since: this connection's own to-device token
  synced_at INTEGER,
  covered INTEGER NOT NULL DEFAULT 0,   -- every to-device event up to pos is in the inbox
  fed INTEGER NOT NULL DEFAULT 0        -- its news comes by transactions of the server, not by sync
) WITHOUT ROWID;
CREATE TABLE inbox (                    -- to-device events, shared, processed strictly by seq (law 2)
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  digest TEXT UNIQUE,                   -- sha256 of the canonical event; null for plaintext kinds, which are idempotent
  conn TEXT NOT NULL, type TEXT NOT NULL, sender TEXT NOT NULL,
  content TEXT,                         -- dropped once processed
  received_at INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,     -- 0 waiting, 1 done, 2 not usable (error says why)
  error TEXT
);
CREATE INDEX inbox_waiting ON inbox(seq) WHERE state = 0;
CREATE TABLE account_data (type TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE room_account_data (
  room_id TEXT, type TEXT, content TEXT NOT NULL, PRIMARY KEY (room_id, type)) WITHOUT ROWID;

-- ── Rooms: facts per connection ────────────────────────────────────────────────────────────────
CREATE TABLE room (
  conn TEXT NOT NULL, room_id TEXT NOT NULL,
  membership TEXT NOT NULL,             -- join | invite | leave | ban
  name TEXT, topic TEXT, avatar_url TEXT,   -- name: the server's computed one
  canonical_alias TEXT,
  heroes TEXT,                          -- JSON [{user_id,name,avatar}]
  is_dm INTEGER NOT NULL DEFAULT 0,
  joined_count INTEGER, invited_count INTEGER,
  bump_stamp INTEGER NOT NULL DEFAULT 0,
  join_rule TEXT, history_visibility TEXT, guest_access TEXT,
  encryption TEXT,                      -- content of m.room.encryption as this connection sees it
  power_levels TEXT,                    -- content of m.room.power_levels
  service_members TEXT,                 -- JSON [user_id]: bots that are no people (io.element.functional_members)
  inviter TEXT,
  members_complete INTEGER NOT NULL DEFAULT 0,  -- all members are known; cleared by every gap
  back_token TEXT,                      -- prev_batch below our oldest event; null at the room's start
  back_done INTEGER NOT NULL DEFAULT 0, -- the start of the room is reached
  -- what the room list shows, kept current by store.rooms.refresh
  last_event_id TEXT, last_at INTEGER NOT NULL DEFAULT 0,
  unread INTEGER NOT NULL DEFAULT 0, highlights INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (conn, room_id)
) WITHOUT ROWID;
CREATE INDEX room_order ON room(conn, last_at DESC);
CREATE TABLE member (
  conn TEXT NOT NULL, room_id TEXT NOT NULL, user_id TEXT NOT NULL,
  membership TEXT NOT NULL, display_name TEXT, avatar_url TEXT,
  changed_at INTEGER NOT NULL DEFAULT 0,    -- origin_server_ts of the membership event
  PRIMARY KEY (conn, room_id, user_id)
) WITHOUT ROWID;
CREATE INDEX member_user ON member(user_id, membership);
CREATE TABLE room_fact (                -- true for the device, whatever a connection says
  room_id TEXT PRIMARY KEY,
  encryption TEXT,                      -- once set, never cleared (law 13)
  accepted TEXT,                        -- why receipts may be considered: sent | invited_them | accepted_invite; null: not
  members_checked_at INTEGER
) WITHOUT ROWID;
CREATE TABLE typing (room_id TEXT PRIMARY KEY, user_ids TEXT NOT NULL, changed_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE read_marker (              -- m.read / m.read.private, newest per person
  room_id TEXT, user_id TEXT, event_id TEXT NOT NULL, read_at INTEGER NOT NULL,
  is_private INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (room_id, user_id)) WITHOUT ROWID;
CREATE TABLE read_owed (                -- our own read receipt still to be sent, newest per room
  room_id TEXT PRIMARY KEY, event_id TEXT NOT NULL, kind TEXT NOT NULL, made_at INTEGER NOT NULL,
  error TEXT) WITHOUT ROWID;

-- ── Timeline: events shared by id, order per connection ────────────────────────────────────────
CREATE TABLE event (
  event_id TEXT PRIMARY KEY, room_id TEXT NOT NULL, sender TEXT NOT NULL,
  type TEXT NOT NULL, state_key TEXT,
  sent_at INTEGER NOT NULL,             -- origin_server_ts
  received_at INTEGER NOT NULL,
  content TEXT NOT NULL,                -- as on the wire
  seal TEXT NOT NULL,                   -- plain | sealed | opened | refused
  session_id TEXT,                      -- Megolm session of a sealed event
  seal_reason TEXT,                     -- why it is still sealed or refused: no_key | withheld:CODE | replay | forged | malformed | unknown_algorithm
  opened_at INTEGER, opened_type TEXT, opened_content TEXT,
  txn_id TEXT,                          -- of our own sends
  redacted_by TEXT, edited_by TEXT,
  relation TEXT, relates_to TEXT,       -- rel_type and target of m.relates_to
  kind TEXT NOT NULL,                   -- the row it makes: text emote notice image file audio video location sticker poll sealed state redacted none
  body TEXT NOT NULL DEFAULT '',        -- plain words of the row
  html TEXT,                            -- sanitised StyledText where formatting exists
  verdict INTEGER NOT NULL DEFAULT 0    -- push rules: 0 nothing, 1 notify, 2 highlight
);
CREATE INDEX event_sealed ON event(room_id, session_id) WHERE seal = 'sealed';
CREATE INDEX event_to_try ON event(sent_at) WHERE seal = 'sealed' AND seal_reason IS NULL;   -- whose turn it is to be opened
CREATE INDEX event_relates ON event(relates_to) WHERE relates_to IS NOT NULL;
CREATE TABLE timeline (
  conn TEXT NOT NULL, room_id TEXT NOT NULL,
  ord INTEGER NOT NULL,                 -- grows with time; live steps by 2^20 so that gaps can be filled
  event_id TEXT NOT NULL,
  origin TEXT NOT NULL,                 -- live | gap | back
  shown INTEGER NOT NULL,               -- the event makes a row of its own
  PRIMARY KEY (conn, room_id, ord)
) WITHOUT ROWID;
CREATE UNIQUE INDEX timeline_event ON timeline(conn, event_id);
CREATE INDEX timeline_shown ON timeline(conn, room_id, ord) WHERE shown = 1;
CREATE TABLE gap (                      -- a hole right below ord, to be filled from prev_batch
  conn TEXT NOT NULL, room_id TEXT NOT NULL, ord INTEGER NOT NULL,
  prev_batch TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (conn, room_id, ord)) WITHOUT ROWID;

-- ── Sending (law 6) ────────────────────────────────────────────────────────────────────────────
CREATE TABLE send_queue (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  txn_id TEXT NOT NULL UNIQUE, room_id TEXT NOT NULL,
  type TEXT NOT NULL, content TEXT NOT NULL,       -- what the user wrote
  body TEXT NOT NULL DEFAULT '', html TEXT,        -- the row of the local echo
  wire_type TEXT, wire_content TEXT,               -- what goes to the server, once encrypted; never changes afterwards
  state TEXT NOT NULL,                  -- queued | sending | sent | failed
  error TEXT, event_id TEXT UNIQUE,
  made_at INTEGER NOT NULL, sent_at INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0, next_try_at INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX send_queue_room ON send_queue(room_id, id);
CREATE INDEX send_queue_waiting ON send_queue(id) WHERE state IN ('queued', 'sending');
CREATE TABLE upload (                   -- attachments of messages in the queue; their bytes lie in the folder "outgoing"
  txn_id TEXT NOT NULL, part TEXT NOT NULL,        -- file | thumbnail
  file TEXT NOT NULL,                   -- its name in that folder
  size INTEGER NOT NULL, mimetype TEXT NOT NULL,   -- as it is uploaded
  sealed INTEGER NOT NULL,              -- 0: in clear, for a room without encryption
  sent INTEGER NOT NULL DEFAULT 0,      -- bytes so far, for the eye only
  mxc TEXT,                             -- once it is at the server; never uploaded again then
  PRIMARY KEY (txn_id, part)) WITHOUT ROWID;
CREATE TABLE audience (                 -- whom a message was for: joined people, and the devices that got its key
  txn_id TEXT, user_id TEXT, device_id TEXT NOT NULL DEFAULT '',    -- '' is the person
  device_name TEXT, PRIMARY KEY (txn_id, user_id, device_id)) WITHOUT ROWID;

-- ── Encryption (law 3): pickles are encrypted with the vault's key ─────────────────────────────
CREATE TABLE crypto_account (
  id INTEGER PRIMARY KEY CHECK (id = 1), pickle TEXT NOT NULL,
  generation INTEGER NOT NULL DEFAULT 1,            -- another program's copy is stale when this moved
  identity TEXT NOT NULL,               -- JSON {curve25519, ed25519}
  device_keys_uploaded INTEGER NOT NULL DEFAULT 0,
  fallback_made_at INTEGER
);
CREATE TABLE key_count (                -- what the server last said of our keys
  id INTEGER PRIMARY KEY CHECK (id = 1), one_time INTEGER, fallback_unused INTEGER, heard_at INTEGER);
CREATE TABLE key_upload (               -- a /keys/upload body that is on its way; repeated byte for byte
  id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, made_at INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE olm_session (
  session_id TEXT PRIMARY KEY, sender_key TEXT NOT NULL, pickle TEXT NOT NULL,
  made_at INTEGER NOT NULL, used_at INTEGER NOT NULL,
  stale INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;   -- went back with an old copy of the store: opens, never encrypts
CREATE INDEX olm_session_peer ON olm_session(sender_key, used_at DESC);
CREATE TABLE megolm_inbound (
  room_id TEXT, session_id TEXT, sender TEXT NOT NULL, sender_key TEXT NOT NULL, claimed_ed25519 TEXT,
  pickle TEXT NOT NULL, first_index INTEGER NOT NULL,
  source TEXT NOT NULL,                 -- olm | own | import | forward | backup
  received_at INTEGER NOT NULL, PRIMARY KEY (room_id, session_id)) WITHOUT ROWID;
CREATE TABLE megolm_outbound (
  room_id TEXT PRIMARY KEY, session_id TEXT NOT NULL, pickle TEXT NOT NULL,
  made_at INTEGER NOT NULL, messages INTEGER NOT NULL DEFAULT 0,
  retired INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE megolm_first (             -- our outbound sessions as they began, to send their keys again
  session_id TEXT PRIMARY KEY, room_id TEXT NOT NULL, pickle TEXT NOT NULL, made_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE megolm_lost (              -- our sessions that went on where this store did not: it is an older copy
  session_id TEXT PRIMARY KEY, noticed_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE key_share (                -- who got an outbound session, from which index on
  session_id TEXT, user_id TEXT, device_id TEXT, curve25519 TEXT NOT NULL,
  message_index INTEGER NOT NULL, outcome TEXT NOT NULL,     -- shared | again (shared, but perhaps not opened) | withheld:CODE | no_olm
  first_index INTEGER NOT NULL,         -- from where on it was to have it, if it was; also before the key went out
  PRIMARY KEY (session_id, user_id, device_id)) WITHOUT ROWID;
CREATE TABLE megolm_replay (
  session_id TEXT, message_index INTEGER, event_id TEXT NOT NULL, sent_at INTEGER NOT NULL,
  PRIMARY KEY (session_id, message_index)) WITHOUT ROWID;
CREATE TABLE withheld (
  room_id TEXT, session_id TEXT, sender TEXT NOT NULL, code TEXT NOT NULL, reason TEXT,
  PRIMARY KEY (room_id, session_id)) WITHOUT ROWID;
CREATE TABLE device_list (              -- users whose devices we track
  user_id TEXT PRIMARY KEY,
  wanted INTEGER NOT NULL DEFAULT 1,    -- grows with every word of a change
  fetched INTEGER NOT NULL DEFAULT 0,   -- the wanted that the last full answer satisfied
  next_try_at INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE device (
  user_id TEXT, device_id TEXT, curve25519 TEXT NOT NULL, ed25519 TEXT NOT NULL,
  display_name TEXT, algorithms TEXT NOT NULL, first_seen INTEGER NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0,
  signed_by TEXT,                       -- the self-signing key of its owner that signed these keys, checked
  PRIMARY KEY (user_id, device_id)) WITHOUT ROWID;
CREATE INDEX device_key ON device(curve25519);
CREATE TABLE to_device_out (            -- encrypted to-device messages, in ratchet order
  id INTEGER PRIMARY KEY AUTOINCREMENT, txn_id TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL, messages TEXT NOT NULL,        -- JSON {user: {device: content}}
  made_at INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, error TEXT);
CREATE INDEX to_device_out_waiting ON to_device_out(id) WHERE done = 0;
CREATE TABLE unwedge (
  curve25519 TEXT PRIMARY KEY, user_id TEXT NOT NULL, device_id TEXT NOT NULL,
  asked_at INTEGER NOT NULL,            -- when we last opened a new session with this device
  due INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;

CREATE TABLE secret (                   -- secrets of the account that this device holds, by their names in the specification
  name TEXT PRIMARY KEY, sealed BLOB NOT NULL,       -- nonce, tag, ciphertext: AES-256-GCM with the vault's key
  kept_at INTEGER NOT NULL) WITHOUT ROWID;

-- Cross-signing: people's identities as they publish them, every signature checked
CREATE TABLE identity (
  user_id TEXT PRIMARY KEY,
  master TEXT NOT NULL, self_signing TEXT, user_signing TEXT,        -- public keys; user_signing: our own only
  published TEXT NOT NULL,              -- JSON {master, self_signing, user_signing} as the server gave them
  pinned TEXT NOT NULL,                 -- the master key first seen, or accepted by the person since
  verified_master TEXT,                 -- the master key last verified; stays when another one is published
  signed_by TEXT,                       -- the user-signing key of ours that signed this master key
  hidden INTEGER NOT NULL DEFAULT 0,    -- the server's last answer left it out, or gave one that is not sound
  first_seen INTEGER NOT NULL, changed_at INTEGER) WITHOUT ROWID;
CREATE TABLE identity_new (             -- an identity of ours on its way to the server; its seeds are among the secrets
  id INTEGER PRIMARY KEY CHECK (id = 1), kind TEXT NOT NULL,         -- set_up | reset
  body TEXT NOT NULL, made_at INTEGER NOT NULL);
CREATE TABLE signature_upload (         -- /keys/signatures/upload bodies on their way
  id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, made_at INTEGER NOT NULL);
-- Secret storage: what is there under a name is what this device holds, as of the secret's kept_at; -1: is of no use
CREATE TABLE secret_stored (
  name TEXT PRIMARY KEY, key_id TEXT NOT NULL, mac TEXT NOT NULL, kept_at INTEGER NOT NULL) WITHOUT ROWID;
-- Secrets between our own devices: what this one asked for, what came and is not looked at yet, what others asked
CREATE TABLE secret_request (
  request_id TEXT PRIMARY KEY, name TEXT NOT NULL, made_at INTEGER NOT NULL,
  devices TEXT NOT NULL,                -- JSON: who was asked
  sent_at INTEGER NOT NULL, times INTEGER NOT NULL) WITHOUT ROWID;   -- asked all of them last, and how often
CREATE TABLE secret_offer (             -- the secret itself lies sealed in table secret, under a name of its own
  request_id TEXT, device_id TEXT, PRIMARY KEY (request_id, device_id)) WITHOUT ROWID;
CREATE TABLE secret_asked (
  device_id TEXT, request_id TEXT, name TEXT NOT NULL, asked_at INTEGER NOT NULL,
  answered_at INTEGER,                  -- null: not verified yet, or we do not have it
  PRIMARY KEY (device_id, request_id)) WITHOUT ROWID;
-- Key backup and key requests
CREATE TABLE backup (                   -- the server's current version, as it was seen last
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version TEXT,                         -- null: the server has none
  algorithm TEXT, auth_data TEXT NOT NULL,
  standing TEXT NOT NULL,               -- none | trusted | untrusted
  keys INTEGER NOT NULL DEFAULT 0,      -- sessions in it, as the server says
  looked_at INTEGER NOT NULL,
  used TEXT, used_key TEXT);            -- the version, with its key, that backup_waiting is about
CREATE TABLE backup_waiting (           -- sessions that are not in that version, or only a worse copy
  room_id TEXT, session_id TEXT, PRIMARY KEY (room_id, session_id)) WITHOUT ROWID;
CREATE TABLE backup_missing (           -- sessions that the backup was asked for one by one
  room_id TEXT, session_id TEXT, asked_at INTEGER NOT NULL, PRIMARY KEY (room_id, session_id));
CREATE INDEX backup_missing_at ON backup_missing(asked_at);
CREATE TABLE backup_restore (           -- a restore of everything, which either program takes up again
  id INTEGER PRIMARY KEY CHECK (id = 1), version TEXT NOT NULL,
  state TEXT NOT NULL,                  -- running | done | cancelled | failed
  total INTEGER NOT NULL, seen INTEGER NOT NULL DEFAULT 0, new INTEGER NOT NULL DEFAULT 0,
  unusable INTEGER NOT NULL DEFAULT 0, error TEXT, started_at INTEGER NOT NULL);
CREATE TABLE backup_restored (          -- rooms that it is done with
  room_id TEXT PRIMARY KEY, sessions INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE key_request (              -- sessions that this device asked others of ours for
  request_id TEXT PRIMARY KEY, room_id TEXT NOT NULL, session_id TEXT NOT NULL, made_at INTEGER NOT NULL,
  devices TEXT NOT NULL,                -- JSON: who was asked
  ended_at INTEGER, UNIQUE (room_id, session_id)) WITHOUT ROWID;
CREATE TABLE key_asked (                -- sessions that other devices of ours ask for
  device_id TEXT, request_id TEXT, room_id TEXT NOT NULL, session_id TEXT NOT NULL,
  asked_at INTEGER NOT NULL, answered_at INTEGER, PRIMARY KEY (device_id, request_id)) WITHOUT ROWID;

-- Verification: what stands, and what was said and waits for the window (only the window answers)
CREATE TABLE verification (
  room_id TEXT NOT NULL,                -- '' between own devices
  flow TEXT NOT NULL,                   -- transaction id; in a room the request's event (until it is sent: its transaction id)
  peer TEXT NOT NULL, device_id TEXT,   -- the other side; its device once known
  we_asked INTEGER NOT NULL, asked_at INTEGER NOT NULL,
  asked TEXT NOT NULL,                  -- JSON: devices that our request went to
  methods TEXT NOT NULL,                -- JSON: what the other side can, of a request that came
  phase TEXT NOT NULL,                  -- asked ... done | cancelled
  code TEXT, reason TEXT NOT NULL DEFAULT '', is_theirs INTEGER NOT NULL DEFAULT 0,
  pending TEXT,                         -- JSON: what was verified and is not signed yet
  told INTEGER NOT NULL DEFAULT 0,      -- a popup was shown, or is not needed
  PRIMARY KEY (room_id, flow)) WITHOUT ROWID;
CREATE TABLE verification_event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE,
  room_id TEXT NOT NULL, flow TEXT NOT NULL, sender TEXT NOT NULL, type TEXT NOT NULL,
  content TEXT,                         -- dropped once processed
  received_at INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0);
CREATE INDEX verification_waiting ON verification_event(seq) WHERE done = 0;

-- ── Delivery receipts (MSC4089) ────────────────────────────────────────────────────────────────
CREATE TABLE receipt_owed (             -- one per (event, device); both programs share this device
  event_id TEXT PRIMARY KEY, room_id TEXT NOT NULL, sender TEXT NOT NULL,
  opened_by TEXT NOT NULL,              -- app | notifier
  decided_at INTEGER NOT NULL, due_at INTEGER NOT NULL,
  share TEXT NOT NULL,                  -- user | device
  state TEXT NOT NULL,                  -- owed | sent | dropped (it was owed) | refused (a message that is not confirmed)
  transport TEXT, reason TEXT, attempts INTEGER NOT NULL DEFAULT 0, done_at INTEGER) WITHOUT ROWID;
CREATE INDEX receipt_waiting ON receipt_owed(sender, decided_at) WHERE state = 'owed';
CREATE INDEX receipt_done ON receipt_owed(done_at) WHERE done_at IS NOT NULL;
CREATE TABLE receipt_plan (             -- the next flush to an author, one for both programs
  sender TEXT PRIMARY KEY, flush_at INTEGER NOT NULL,
  hold_ms INTEGER NOT NULL,             -- what was decided later than that before the flush waits for the next one
  slack_ms INTEGER NOT NULL,            -- how long after whatever else held it back it goes out
  drawn_at INTEGER NOT NULL, profile TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE receipt_flush (
  sender TEXT NOT NULL, flushed_at INTEGER NOT NULL,
  attended INTEGER NOT NULL DEFAULT 0); -- others had seen us in a room with the author shortly before
CREATE INDEX receipt_flush_sender ON receipt_flush(sender, flushed_at);
CREATE INDEX receipt_flush_time ON receipt_flush(flushed_at);
CREATE TABLE attendance (               -- where others could see us: what we wrote, our public read receipts
  room_id TEXT PRIMARY KEY, at INTEGER NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE delivery (                 -- receipts heard for our own messages
  event_id TEXT, user_id TEXT, device_id TEXT NOT NULL DEFAULT '',   -- '' is the person
  outcome TEXT NOT NULL,                -- delivered
  ts INTEGER NOT NULL,                  -- as the receipt says, clamped to [event, now]
  heard_at INTEGER NOT NULL, via TEXT NOT NULL,
  PRIMARY KEY (event_id, user_id, device_id)) WITHOUT ROWID;
CREATE INDEX delivery_person ON delivery(user_id, heard_at);   -- when somebody confirmed anything last
CREATE TABLE delivery_early (           -- receipts for events we do not know yet; bounded, short-lived
  event_id TEXT, user_id TEXT, device_id TEXT NOT NULL DEFAULT '',
  via TEXT NOT NULL,                    -- server | olm | sync (another device of ours passed it on)
  sender_key TEXT NOT NULL DEFAULT '',  -- olm: of the device that said it
  room_id TEXT NOT NULL, ts INTEGER NOT NULL, heard_at INTEGER NOT NULL,
  proof TEXT NOT NULL DEFAULT '',       -- checked once the message's token is known
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (event_id, user_id, device_id, via, sender_key)) WITHOUT ROWID;
CREATE INDEX delivery_early_person ON delivery_early(user_id);
CREATE TABLE failed_owed (              -- sessions of messages that this device cannot open: one report each, to their author
  room_id TEXT, session_id TEXT, sender TEXT,
  first_event TEXT NOT NULL,            -- the first message that stayed sealed
  decided_at INTEGER NOT NULL, due_at INTEGER NOT NULL,
  state TEXT NOT NULL,                  -- waiting | sent | dropped | taken_back
  code TEXT, n INTEGER,                 -- what was said: why, and of how many messages
  reason TEXT, sent_at INTEGER,
  mended_at INTEGER,                    -- when the key came from its sender after all
  PRIMARY KEY (room_id, session_id, sender)) WITHOUT ROWID;
CREATE INDEX failed_due ON failed_owed(due_at) WHERE state IN ('waiting', 'sent');
CREATE TABLE receipt_failed (           -- devices that said they cannot open messages of ours, by Megolm session
  session_id TEXT, user_id TEXT, device_id TEXT, room_id TEXT NOT NULL,
  first_event TEXT NOT NULL,
  first_index INTEGER NOT NULL,         -- that message's place in the session: it and what follows cannot be opened
  n INTEGER NOT NULL, code TEXT NOT NULL,             -- no_key | withheld | other
  heard_at INTEGER NOT NULL,
  cleared_at INTEGER,                   -- when the device took it back
  PRIMARY KEY (session_id, user_id, device_id)) WITHOUT ROWID;
CREATE INDEX receipt_failed_device ON receipt_failed(user_id, device_id, heard_at);
CREATE TABLE key_again (                -- keys that were sent again by hand, from which message on
  session_id TEXT, user_id TEXT, device_id TEXT, curve25519 TEXT NOT NULL,
  message_index INTEGER NOT NULL, sent_at INTEGER NOT NULL,
  PRIMARY KEY (session_id, user_id, device_id)) WITHOUT ROWID;
CREATE TABLE bridge (                   -- bridges of a room, as its state names them
  conn TEXT, room_id TEXT, type TEXT, state_key TEXT, bot TEXT NOT NULL, network TEXT NOT NULL,
  PRIMARY KEY (conn, room_id, type, state_key)) WITHOUT ROWID;
CREATE TABLE bridge_status (            -- what a room's bridge said last of a message of ours
  event_id TEXT PRIMARY KEY, room_id TEXT NOT NULL,
  status TEXT NOT NULL,                 -- success | pending | fail_retriable | fail_permanent
  reason TEXT, message TEXT,            -- message: for people
  delivered_to TEXT,                    -- JSON list of user ids; null: the bridge does not say
  network TEXT NOT NULL, sender TEXT NOT NULL,
  said_at INTEGER NOT NULL, heard_at INTEGER NOT NULL) WITHOUT ROWID;
-- The encrypted way
CREATE INDEX receipt_said ON receipt_owed(sender, done_at) WHERE state = 'sent';   -- what is repeated along with the next ones
CREATE TABLE receipt_route (            -- whether another server takes receipts, as ours found out
  server TEXT PRIMARY KEY, takes INTEGER NOT NULL, learned_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE receipt_peer (             -- the pace of devices that confirm to us
  user_id TEXT, device_id TEXT,
  counted_at INTEGER NOT NULL, spare REAL NOT NULL,         -- so many more batches were free to come then
  muted_until INTEGER NOT NULL,
  last TEXT NOT NULL,                   -- JSON: the ids of its last batches
  PRIMARY KEY (user_id, device_id)) WITHOUT ROWID;
CREATE TABLE receipt_lease (            -- which device of ours answers where each would be seen
  id INTEGER PRIMARY KEY CHECK (id = 1), device_id TEXT NOT NULL,
  told_at INTEGER NOT NULL);            -- when this device last said that it is itself; 0: another one did
CREATE TABLE receipt_by_other (         -- what another device of ours has confirmed
  event_id TEXT PRIMARY KEY, heard_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE receipt_wait (             -- how long we leave an event to that device
  event_id TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE own_confirm (              -- messages from our other devices that are here
  event_id TEXT PRIMARY KEY, room_id TEXT NOT NULL, asked_by TEXT NOT NULL,
  due_at INTEGER NOT NULL, done INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE receipt_forward (          -- proven receipts that our other devices are to be told
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id TEXT NOT NULL, room_id TEXT NOT NULL, user_id TEXT NOT NULL, device_id TEXT NOT NULL,
  ts INTEGER NOT NULL, proof TEXT NOT NULL, UNIQUE (event_id, user_id, device_id));

-- ── Settings, notifications, drafts ────────────────────────────────────────────────────────────
CREATE TABLE setting (
  scope TEXT NOT NULL,                  -- account | room | person
  target TEXT NOT NULL DEFAULT '',      -- room id or user id
  key TEXT NOT NULL, value TEXT NOT NULL, changed_at INTEGER NOT NULL,
  PRIMARY KEY (scope, target, key)) WITHOUT ROWID;
CREATE TABLE shared_exception (         -- delivery confirmations: exceptions that the user's devices share, opened
  scope TEXT NOT NULL, target TEXT NOT NULL,
  value TEXT NOT NULL,                  -- "default": an exception that was removed
  changed_at INTEGER NOT NULL,
  PRIMARY KEY (scope, target)) WITHOUT ROWID;
CREATE TABLE notification (             -- one per notifiable event, for both programs
  event_id TEXT PRIMARY KEY, room_id TEXT NOT NULL,
  state TEXT NOT NULL,                  -- due | shown | skipped
  reason TEXT, made_at INTEGER NOT NULL, done_at INTEGER) WITHOUT ROWID;
CREATE INDEX notification_due ON notification(made_at) WHERE state = 'due';
CREATE TABLE draft (room_id TEXT PRIMARY KEY, body TEXT NOT NULL, changed_at INTEGER NOT NULL) WITHOUT ROWID;
