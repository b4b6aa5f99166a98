// Replays a recorded editing session through a room, as fast as it takes the edits.
// Argument: JSON {connection, trace (file)}. Prints JSON {acknowledgements, edits, seconds}.

import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { gunzipSync } from 'node:zlib'
import { Client } from './client.mjs'

const WINDOW = 200 // edits that may wait for their acknowledgement

const { connection, trace } = JSON.parse(process.argv[2])
const { startContent = '', endContent, txns } = JSON.parse(gunzipSync(readFileSync(trace)))

const writer = new Client(connection)
await writer.synced
const reader = new Client(connection)
await reader.synced
writer.text.insert(0, startContent)

const began = performance.now()
for (const { patches } of txns) {
  writer.doc.transact(() => {
    for (const [position, deleted, inserted] of patches) {
      if (deleted) writer.text.delete(position, deleted)
      if (inserted) writer.text.insert(position, inserted)
    }
  })
  if (writer.sent - writer.acknowledged >= WINDOW) {
    await new Promise((resolve) => {
      writer.onAcknowledged = resolve
    })
  }
}
while (writer.acknowledged < writer.sent) {
  await new Promise((resolve) => {
    writer.onAcknowledged = resolve
  })
}
const seconds = (performance.now() - began) / 1000
while (reader.text.toString() !== endContent) {
  if (performance.now() - began > (seconds + 30) * 1000) throw new Error('the texts differ')
  await new Promise((resolve) => setTimeout(resolve, 10))
}
const { acknowledgements } = writer
writer.close()
reader.close()
console.log(JSON.stringify({ acknowledgements, edits: txns.length, seconds }))
