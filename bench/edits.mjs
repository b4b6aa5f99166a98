// Edit → other client: two clients in one process; one types, the other waits for it.
// Argument: JSON {connection, edits, warm, pause}. Prints JSON {arrivals, acknowledgements} in ms.

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from './client.mjs'
import { failures } from './failures.mjs'

failures()
const { connection, edits, warm, pause } = JSON.parse(process.argv[2])

const writer = new Client(connection)
await writer.synced // a new room is opened by one client at a time: not every peer survives two
const reader = new Client(connection)
await reader.synced

const arrivals = []
for (let edit = 0; edit < warm + edits; edit++) {
  if (edit === warm) writer.acknowledgements.length = 0
  const arrived = new Promise((resolve) => {
    const look = () => {
      reader.text.unobserve(look)
      resolve(performance.now())
    }
    reader.text.observe(look)
  })
  const began = performance.now()
  writer.text.insert(writer.text.length, 'x')
  const took = (await arrived) - began
  if (edit >= warm) arrivals.push(took)
  await sleep(pause)
}
if (reader.text.toString() !== writer.text.toString()) throw new Error('the clients differ')
const { acknowledgements } = writer
writer.close()
reader.close()
console.log(JSON.stringify({ arrivals, acknowledgements }))
