// People who type, and people who look on, without a document of their own while the clock runs.
//
// A typist's updates are what Yjs makes of one character after the other, made beforehand. What
// arrives is kept as bytes and read only as far as the clocks it carries; the documents are built
// from those bytes afterwards, and every one must be equal to what was typed.

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import * as decoding from 'lib0/decoding'
import * as Y from 'yjs'
import { Wire } from './wire.mjs'

const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789\n'
const AHEAD = 1000 // edits that are made at one time, when those made beforehand are used up

// An item of an update, version 1 (`Item.write`, `ContentString` and `readClientsStructRefs` of
// Yjs 13): what its first byte says.
const ORIGIN = 0x80
const RIGHT_ORIGIN = 0x40
const PARENT_KEY = 0x20
const KIND = 0x1f
const GARBAGE = 0
const DELETED = 1
const STRING = 4
const SKIP = 10

process.on('uncaughtException', (error) => {
  console.error(error)
  console.log(`failed: ${error.message}`)
  process.exit(1)
})

let lastId = Math.floor(Math.random() * 2 ** 20) * 1024

/** A member of a room: a socket, what it was sent, and how far into each typist's text that goes. */
export class Member {
  constructor(connection) {
    this.id = ++lastId
    this.clocks = new Map() // typist's id → edits of theirs that have arrived here
    this.sent = 0
    this.onEdits = () => {} // (typist's id, first new edit, end, when)
    this.updates = [] // as they came
    this.made = []
    this.frames = [] // of what was made
    this.wire = new Wire(connection)
    this.wire.onUpdate = (update, at) => this.receive(update, at)
  }

  /** Make `count` further edits, to be sent later. */
  prepare(count) {
    this.doc ??= Object.assign(new Y.Doc(), { clientID: this.id })
    const text = this.doc.getText('content')
    const keep = (update) => {
      this.made.push(update)
      this.frames.push(this.wire.update(update))
    }
    this.doc.on('update', keep)
    for (let edit = 0; edit < count; edit++) {
      const { length } = text
      text.insert(length, LETTERS[length % LETTERS.length])
    }
    this.doc.off('update', keep)
  }

  /** Send the next `count` edits, each in a frame of its own. */
  type(count = 1) {
    const end = this.sent + count
    if (end > this.frames.length) this.prepare(Math.max(count, AHEAD))
    const frames = this.frames.slice(this.sent, end)
    this.wire.socket.write(frames.length === 1 ? frames[0] : Buffer.concat(frames))
    this.sent = end
  }

  receive(update, at) {
    this.updates.push(update)
    readClocks(update, (id, end) => {
      const known = this.clocks.get(id) ?? 0
      if (end <= known) return
      this.clocks.set(id, end)
      this.onEdits(id, known, end, at)
    })
  }

  /** How many of `typist`'s edits are here; a typist has those it sent. */
  reached(typist) {
    return this === typist ? this.sent : (this.clocks.get(typist.id) ?? 0)
  }

  /** The text that this member sees, from all that arrived and what it typed itself. */
  text() {
    const doc = new Y.Doc()
    doc.transact(() => {
      for (const update of this.updates) Y.applyUpdate(doc, update)
      for (const update of this.made.slice(0, this.sent)) Y.applyUpdate(doc, update)
    })
    return doc.getText('content').toString()
  }
}

/** Connect the members of rooms, `[[connection, members], …]`; in each room one goes in first,
 * because not every server survives two that open a new room at once. */
export async function join(rooms) {
  const joined = rooms.map(([connection]) => [new Member(connection)])
  await Promise.all(joined.map(([first]) => first.wire.synced))
  for (const [index, [connection, members]] of rooms.entries()) {
    const room = joined[index]
    while (room.length < members) room.push(new Member(connection))
  }
  await Promise.all(joined.flat().map((member) => member.wire.synced))
  return joined
}

/** Wait until everybody has all that was typed in their room, and check that every text holds each
 * typed character exactly once, in the order of typing. Returns how long the wait was, in ms.
 *
 * Everybody types at an end of their own, so that each one's text stays in one piece; Yjs puts the
 * pieces in the order of the typists' ids. */
export async function check(rooms, limit = 20_000) {
  const began = performance.now()
  const complete = (room) =>
    room.every((member) => room.every((typist) => member.reached(typist) >= typist.sent))
  while (!rooms.every(complete)) {
    if (performance.now() - began > limit) throw new Error('not every edit arrived everywhere')
    await sleep(5)
  }
  const waited = performance.now() - began
  for (const room of rooms) {
    const typists = room.filter((member) => member.sent).sort((a, b) => a.id - b.id)
    const typed = typists.map(({ sent }) =>
      LETTERS.repeat(Math.ceil(sent / LETTERS.length)).slice(0, sent)
    )
    const expected = typed.join('')
    for (const member of room) {
      if (member.text() !== expected) throw new Error('a client does not have what was typed')
    }
  }
  return waited
}

/** Say that everybody has joined, and wait for the word to begin. */
export async function ready() {
  console.log('ready')
  await new Promise((resolve) => process.stdin.once('data', resolve))
  process.stdin.pause()
}

/** Say that the time to be measured has begun or ended: what the servers used is read then. */
export function mark() {
  console.log('mark')
}

/** The part of one core that this process used since `before`, a `process.cpuUsage()`. */
export function busy(before, milliseconds) {
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000 / milliseconds
}

/** Call `visit(client, clock after its last item)` for each client that an update has text of. */
function readClocks(update, visit) {
  const decoder = decoding.createDecoder(update)
  for (let clients = decoding.readVarUint(decoder); clients > 0; clients--) {
    let items = decoding.readVarUint(decoder)
    const client = decoding.readVarUint(decoder)
    let clock = decoding.readVarUint(decoder)
    for (; items > 0; items--) {
      const first = decoding.readUint8(decoder)
      const kind = first & KIND
      if (kind !== GARBAGE && kind !== SKIP) readPlace(decoder, first)
      if (kind === STRING) clock += decoding.readVarString(decoder).length
      else if (kind === GARBAGE || kind === SKIP || kind === DELETED) {
        clock += decoding.readVarUint(decoder)
      } else throw new Error(`an item of kind ${kind}`)
    }
    visit(client, clock)
  }
}

function readPlace(decoder, first) {
  if (first & ORIGIN) readId(decoder)
  if (first & RIGHT_ORIGIN) readId(decoder)
  if (first & (ORIGIN | RIGHT_ORIGIN)) return
  if (decoding.readVarUint(decoder) === 1) decoding.readVarString(decoder)
  else readId(decoder)
  if (first & PARENT_KEY) decoding.readVarString(decoder)
}

function readId(decoder) {
  decoding.readVarUint(decoder)
  decoding.readVarUint(decoder)
}
