// Acknowledgements under load: many clients in several rooms, each typing at its own pace.
// Argument: JSON {connections: [[connection, count]], rate (edits/s of all), warm, seconds}.
// Prints JSON {acknowledgements, edits, seconds}.

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from './client.mjs'

const { connections, rate, warm, seconds } = JSON.parse(process.argv[2])

const rooms = []
for (const [connection, count] of connections) {
  const first = new Client(connection)
  await first.synced
  const others = Array.from({ length: count - 1 }, () => new Client(connection))
  await Promise.all(others.map((client) => client.synced))
  rooms.push([first, ...others])
}
// Neighbours in time are in different rooms, as people are.
const clients = rooms[0].flatMap((_, index) => rooms.map((room) => room[index]))

const began = performance.now() + warm * 1000
const total = rate * seconds
for (let edit = -rate * warm; edit < total; edit++) {
  if (edit === 0) for (const client of clients) client.acknowledgements.length = 0
  const due = began + (edit / rate) * 1000
  if (due > performance.now()) await sleep(Math.max(1, due - performance.now()))
  const client = clients[(edit + rate * warm) % clients.length]
  client.text.insert(client.text.length, 'x')
}
const took = (performance.now() - began) / 1000

const settled = () => clients.every((client) => client.acknowledged === client.sent)
const deadline = performance.now() + 10_000
while (!settled() && performance.now() < deadline) await sleep(10)
if (!settled()) throw new Error('not every edit was acknowledged')
for (const room of rooms) {
  while (new Set(room.map((client) => client.text.toString())).size > 1) {
    if (performance.now() > deadline) throw new Error('clients of one room differ')
    await sleep(10)
  }
}
const acknowledgements = clients.flatMap((client) => client.acknowledgements)
for (const client of clients) client.close()
console.log(JSON.stringify({ acknowledgements, edits: total, seconds: took }))
