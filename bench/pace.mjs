// Typing at an even pace in many documents or before many readers: how soon does everybody see it,
// and how soon is it durable?
// Argument: JSON {rooms: [[connection, members]], typists (in each room), rate (edits/s of each
// typist), warm, seconds}. Prints JSON {latencies (ms), acknowledgements (ms, of servers that say so),
// busy (part of the client's core)}.

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { busy, check, join, mark, ready } from './typist.mjs'

const { rooms: wanted, typists, rate, warm, seconds } = JSON.parse(process.argv[2])

const rooms = await join(wanted)
const writers = rooms.flatMap((room) => room.slice(0, typists))
const sentAt = new Map() // typist → when each edit was sent
let latencies = []
let acknowledgements = []
for (const typist of writers) {
  sentAt.set(typist.id, [])
  typist.prepare(Math.ceil(rate * (warm + seconds)) + 1)
  let known = 0
  typist.wire.onAcknowledged = (count, at) => {
    const times = sentAt.get(typist.id)
    for (; known < count; known++) acknowledgements.push(at - times[known])
  }
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
for (let edit = 0; edit < all * (warm + seconds); edit++) {
  if (edit === Math.round(all * warm)) {
    mark()
    latencies = []
    acknowledgements = []
    cpu = process.cpuUsage()
    measured = performance.now()
  }
  const due = began + (edit / all) * 1000
  while (due > performance.now()) await sleep(Math.max(1, due - performance.now()))
  const typist = writers[edit % writers.length]
  sentAt.get(typist.id).push(performance.now())
  typist.type()
}
const used = busy(cpu, performance.now() - measured)
mark()
await check(rooms)
for (const member of rooms.flat()) member.wire.close()
console.log(JSON.stringify({ latencies, acknowledgements, busy: used }))
