// Typing at an even pace in many documents or before many readers: how soon does everybody see it?
// Argument: JSON {rooms: [[connection, members]], typists (in each room), rate (edits/s of each
// typist), warm, seconds}. Prints JSON {latencies (ms), edits, busy (part of the client's core)}.

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { busy, check, join, mark, ready } from './typist.mjs'

const { rooms: wanted, typists, rate, warm, seconds } = JSON.parse(process.argv[2])

const rooms = await join(wanted)
const writers = rooms.flatMap((room) => room.slice(0, typists))
const sentAt = new Map() // typist → when each edit was sent
let latencies = []
for (const typist of writers) {
  sentAt.set(typist.id, [])
  typist.prepare(Math.ceil(rate * (warm + seconds)) + 1)
}
for (const member of rooms.flat()) {
  member.onEdits = (id, known, end, at) => {
    if (id === member.id) return
    const times = sentAt.get(id)
    for (let edit = known; edit < end; edit++) latencies.push(at - times[edit])
  }
}

await ready()
// Typists take turns at even distances, so that nothing comes in bursts.
const all = writers.length * rate
const began = performance.now()
let cpu, measured
let edits = 0
for (let edit = 0; edit < all * (warm + seconds); edit++) {
  if (edit === Math.round(all * warm)) {
    mark()
    latencies = []
    cpu = process.cpuUsage()
    measured = performance.now()
  }
  const due = began + (edit / all) * 1000
  while (due > performance.now()) await sleep(Math.max(1, due - performance.now()))
  const typist = writers[edit % writers.length]
  sentAt.get(typist.id).push(performance.now())
  typist.type()
  if (measured) edits += 1
}
const used = busy(cpu, performance.now() - measured)
mark()
await check(rooms)
for (const member of rooms.flat()) member.wire.close()
console.log(JSON.stringify({ latencies, edits, busy: used }))
