// People who type, and people who look on, without a document of their own while the clock runs.
//
// A typist's edits are single characters, one after the other, as Yjs encodes them, made
// beforehand. Afterwards every member's document is built by Yjs from all that it was sent, and
// must hold each typed character exactly once.

import assert from 'node:assert'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'
import { failures } from './failures.mjs'
import { Wire } from './wire.mjs'

const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789\n'
const AHEAD = 1000 // edits that are made at one time, when those made beforehand are used up
const MEMBERS = 2048 // of one process
const FIRST_ID = 1 + MEMBERS * Math.floor((Math.random() * 2 ** 30) / MEMBERS)

let members = 0

failures()

/** A member of a room: a socket, and how far into each typist's text what it was sent goes. */
export class Member {
  constructor(connection) {
    this.id = FIRST_ID + members++
    this.clocks = new Int32Array(MEMBERS)
    this.sent = 0
    this.made = 0
    this.frames = Buffer.alloc(0) // those made and not yet sent, and where each begins
    this.begins = []
    this.next = 0
    this.onEdits = () => {} // (typist's id, first new edit, end, when)
    this.wire = new Wire(connection)
    let at = 0
    const visit = (id, end) => this.see(id, end, at)
    this.wire.onUpdate = (reader, now) => {
      at = now
      reader.clocks(visit)
    }
  }

  /** Make `count` further edits, to be sent later. */
  prepare(count) {
    const frames = []
    for (let edit = this.next; edit < this.begins.length; edit++) {
      frames.push(this.frames.subarray(this.begins[edit], this.begins[edit + 1]))
    }
    for (let edit = 0; edit < count; edit++) {
      frames.push(this.wire.frameOf(insertion(this.id, this.made++)))
    }
    this.frames = Buffer.concat(frames)
    this.begins = []
    this.next = 0
    let begin = 0
    for (const { length } of frames) {
      this.begins.push(begin)
      begin += length
    }
  }

  /** Send the next `count` edits, each in a frame of its own. */
  type(count = 1) {
    if (this.sent + count > this.made) this.prepare(Math.max(count, AHEAD))
    const end = this.next + count
    this.wire.socket.write(this.frames.subarray(this.begins[this.next], this.begins[end]))
    this.next = end
    this.sent += count
  }

  see(id, end, at) {
    const typist = id - FIRST_ID
    if (typist < 0 || typist >= members) return
    const known = this.clocks[typist]
    if (end <= known) return
    this.clocks[typist] = end
    this.onEdits(id, known, end, at)
  }

  /** How many of `typist`'s edits are here; a typist has those it sent. */
  reached(typist) {
    return this === typist ? this.sent : this.clocks[typist.id - FIRST_ID]
  }

  /** The text that this member sees, from all that arrived and what it typed itself. */
  text() {
    const doc = new Y.Doc()
    doc.transact(() => {
      for (const update of this.wire.updates()) Y.applyUpdate(doc, update)
      if (this.sent) Y.applyUpdate(doc, insertion(this.id, 0, typed(this.sent)))
    })
    return doc.getText('content').toString()
  }
}

/** What Yjs writes for a client's insertion of `text` behind its own first `clock` characters. */
function insertion(client, clock, text = LETTERS[clock % LETTERS.length]) {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, 1) // clients
  encoding.writeVarUint(encoder, 1) // items
  encoding.writeVarUint(encoder, client)
  encoding.writeVarUint(encoder, clock)
  if (clock) {
    encoding.writeUint8(encoder, 0x84) // a string with an origin: the character before
    encoding.writeVarUint(encoder, client)
    encoding.writeVarUint(encoder, clock - 1)
  } else {
    encoding.writeUint8(encoder, 0x04) // a string at the beginning of a named text
    encoding.writeVarUint(encoder, 1)
    encoding.writeVarString(encoder, 'content')
  }
  encoding.writeVarString(encoder, text)
  encoding.writeVarUint(encoder, 0) // deletions
  return encoding.toUint8Array(encoder)
}

function typed(count) {
  return LETTERS.repeat(Math.ceil(count / LETTERS.length)).slice(0, count)
}

// The claim above, held against Yjs itself.
const doc = Object.assign(new Y.Doc(), { clientID: FIRST_ID })
const made = []
doc.on('update', (update) => made.push(update))
for (let edit = 0; edit < 300; edit++) doc.getText('content').insert(edit, typed(edit + 1)[edit])
for (const [edit, update] of made.entries()) assert.deepEqual(insertion(FIRST_ID, edit), update)

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
 * typed character exactly once, in the order of typing.
 *
 * Everybody types at an end of their own, so that each one's text stays in one piece; Yjs puts the
 * pieces in the order of the typists' ids. */
export async function check(rooms, limit = 20_000) {
  const deadline = performance.now() + limit
  const complete = (room) =>
    room.every((member) => room.every((typist) => member.reached(typist) >= typist.sent))
  while (!rooms.every(complete)) {
    if (performance.now() > deadline) throw new Error('not every edit arrived everywhere')
    await sleep(5)
  }
  for (const room of rooms) {
    const typists = room.filter((member) => member.sent).sort((a, b) => a.id - b.id)
    const expected = typists.map(({ sent }) => typed(sent)).join('')
    for (const member of room) {
      if (member.text() !== expected) throw new Error('a client does not have what was typed')
    }
  }
}

/** Say that everybody has joined, and wait for the word to begin. */
export async function ready() {
  console.log('ready')
  await new Promise((resolve) => process.stdin.once('data', resolve))
  process.stdin.pause()
}

/** Say that the time to be measured has begun or ended: what the server used is read then. */
export function mark() {
  console.log('mark')
}

/** The part of one core that this process used since `before`, a `process.cpuUsage()`. */
export function busy(before, milliseconds) {
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000 / milliseconds
}
