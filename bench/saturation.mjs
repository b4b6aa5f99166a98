// Saturation: several people in one document, each typing as fast as the others get to see it.
// Argument: JSON {connection, typists, window (edits that are not everywhere yet), warm, seconds}.
// Prints JSON {rate (edits/s that all have seen), latencies (ms), busy (part of the client's core)}.

import { performance } from 'node:perf_hooks'
import { busy, check, join, mark, ready } from './typist.mjs'

const PREPARED = 10_000 // edits of each typist
const SAMPLED = 16 // one edit in so many has its latency taken

const { connection, typists, window, warm, seconds } = JSON.parse(process.argv[2])

const [room] = await join([[connection, typists]])
for (const member of room) member.prepare(PREPARED)
const everywhere = new Map(room.map((typist) => [typist.id, 0]))
const sentAt = new Map(room.map((typist) => [typist.id, new Map()]))
let latencies = []
let typing = true
for (const member of room) {
  member.onEdits = (id, known, end, at) => {
    if (id === member.id) return
    const times = sentAt.get(id)
    for (let edit = Math.ceil(known / SAMPLED) * SAMPLED; edit < end; edit += SAMPLED) {
      latencies.push(at - times.get(edit))
    }
  }
}

/** Bring every typist's unseen edits up to the window again. */
function fill() {
  const now = performance.now()
  for (const typist of room) {
    const seen = Math.min(...room.map((member) => member.reached(typist)))
    everywhere.set(typist.id, seen)
    const count = typing ? window - (typist.sent - seen) : 0
    if (count <= 0) continue
    const times = sentAt.get(typist.id)
    const first = Math.ceil(typist.sent / SAMPLED) * SAMPLED
    for (let edit = first; edit < typist.sent + count; edit += SAMPLED) times.set(edit, now)
    typist.type(count)
  }
  if (typing) setImmediate(fill)
}
const relayed = () => [...everywhere.values()].reduce((sum, seen) => sum + seen, 0)
const pass = (duration) => new Promise((resolve) => setTimeout(resolve, duration * 1000))

await ready()
fill()
await pass(warm)
mark()
latencies = []
const cpu = process.cpuUsage()
const [began, before] = [performance.now(), relayed()]
await pass(seconds)
const took = performance.now() - began
const rate = ((relayed() - before) / took) * 1000
const used = busy(cpu, took)
mark()
typing = false
await check([room])
for (const member of room) member.wire.close()
console.log(JSON.stringify({ rate, latencies, busy: used, edits: relayed() }))
