// Saturation: several people in one document, each typing as fast as the others get to see it.
// Argument: JSON {connection, typists, window (edits that are not everywhere yet), warm, seconds}.
// Prints JSON {rate (edits/s that all have seen), latencies (ms), busy (part of the client's core)}.

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { busy, check, join, mark, ready } from './typist.mjs'

const PREPARED = 20_000 // edits of each typist
const SAMPLED = 16 // of so many edits, one has its latency taken

const { connection, typists, window, warm, seconds } = JSON.parse(process.argv[2])

const [room] = await join([[connection, typists]])
for (const member of room) member.prepare(PREPARED)
const sentAt = new Map(room.map((typist) => [typist.id, []])) // of the sampled edits
let latencies = []
let typing = true
let waiting = false
for (const member of room) {
  member.onEdits = (id, known, end, at) => {
    if (id === member.id) return
    const times = sentAt.get(id)
    for (let sample = Math.ceil(known / SAMPLED); sample * SAMPLED < end; sample++) {
      latencies.push(at - times[sample])
    }
    if (!waiting) {
      waiting = true
      setImmediate(fill) // once everything that lies in the sockets has been read
    }
  }
}

/** How many of a typist's edits everybody has. */
function everywhere(typist) {
  let least = typist.sent
  for (const member of room) least = Math.min(least, member.reached(typist))
  return least
}

/** Let every typist type until `window` edits are on their way. */
function fill() {
  waiting = false
  const now = performance.now()
  for (const typist of typing ? room : []) {
    const count = window - (typist.sent - everywhere(typist))
    if (count <= 0) continue
    typist.type(count)
    const times = sentAt.get(typist.id)
    while (times.length * SAMPLED < typist.sent) times.push(now)
  }
}

const relayed = () => room.reduce((sum, typist) => sum + everywhere(typist), 0)

await ready()
fill()
await sleep(warm * 1000)
mark()
latencies = []
const cpu = process.cpuUsage()
const began = performance.now()
const before = relayed()
await sleep(seconds * 1000)
const took = performance.now() - began
const rate = ((relayed() - before) / took) * 1000
const used = busy(cpu, took)
mark()
typing = false
await check([room])
for (const member of room) member.wire.close()
console.log(JSON.stringify({ rate, latencies, busy: used }))
