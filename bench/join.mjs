// Joining a document with a long history.
// Argument: JSON {connection, trace (file), type (whether the recorded session is to be typed into
// the document first), joins (how many, one after the other)}. Prints JSON {joins (ms from opening
// the socket until the last byte of the text has arrived), missing (characters that never did)}.

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import * as Y from 'yjs'
import { Client } from './client.mjs'
import { failures } from './failures.mjs'
import { Wire } from './wire.mjs'

const WINDOW = 100 // updates on their way
const PATIENCE = 15_000 // ms without news, after which what is missing will not come

failures()
const { connection, trace, type, joins: count } = JSON.parse(process.argv[2])
const { startContent = '', endContent, txns } = JSON.parse(gunzipSync(readFileSync(trace)))

/** Type the session before a second person, and wait until that one has it and it is durable. */
async function replay() {
  const writer = new Client(connection)
  await writer.synced
  const reader = new Client(connection)
  await reader.synced
  const { clientID, store } = writer.doc
  const behind = () => Y.getState(store, clientID) - Y.getState(reader.doc.store, clientID)
  const since = []
  writer.text.insert(0, startContent)
  for (const { patches } of txns) {
    writer.doc.transact(() => {
      for (const [position, deleted, inserted] of patches) {
        if (deleted) writer.text.delete(position, deleted)
        if (inserted) writer.text.insert(position, inserted)
      }
    })
    since.push(Y.getState(store, clientID))
    const due = since[since.length - WINDOW] ?? 0
    while (Y.getState(reader.doc.store, clientID) < due) await news(reader)
  }
  while (behind() || reader.text.toString() !== endContent) await news(reader)
  while (connection.subprotocols && writer.acknowledged < writer.sent) await sleep(5)
  return [writer, reader]
}

function news(reader) {
  return new Promise((resolve) => reader.doc.once('update', resolve))
}

/** Join; returns milliseconds and how many characters are missing. */
async function join() {
  const doc = new Y.Doc()
  const text = doc.getText('content')
  const began = performance.now()
  const wire = new Wire(connection)
  let timer
  const result = await new Promise((resolve) => {
    const giveUp = () => resolve([0, endContent.length - text.length])
    timer = setTimeout(giveUp, PATIENCE)
    wire.onUpdate = (reader, at) => {
      Y.applyUpdate(doc, reader.data.subarray(reader.position, reader.end))
      if (text.toString() === endContent) resolve([at - began, 0])
      else timer.refresh()
    }
  })
  clearTimeout(timer)
  wire.close()
  return result
}

/** Open a socket to nobody first: what a new process pays for its first one is not the server's. */
async function warm() {
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const wire = new Wire({ url: `ws://127.0.0.1:${server.address().port}/` })
  wire.closing = true
  await wire.synced.catch(() => {})
  server.close()
}

await warm()
const people = type ? await replay() : []
const joins = []
let missing = 0
for (let number = 0; number < count; number++) {
  const [took, lacks] = await join()
  if (lacks) missing = lacks
  else joins.push(took)
}
for (const person of people) person.close()
console.log(JSON.stringify({ joins, missing }))
process.exit(0) // without waiting for timers
