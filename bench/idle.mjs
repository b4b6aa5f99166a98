// People who only look: many sockets on a few documents, and nobody types.
// Argument: JSON {rooms: [[connection, members]]}. Between the marks all but the first member of
// each room join. Prints JSON {joined (members between the marks)}.

import { setTimeout as sleep } from 'node:timers/promises'
import { Member, mark, ready } from './typist.mjs'

const { rooms } = JSON.parse(process.argv[2])

const synced = (members) => Promise.all(members.map((member) => member.wire.synced))
const firsts = rooms.map(([connection]) => new Member(connection))
await synced(firsts)
await ready()
mark()
const others = rooms.flatMap(([connection, count]) =>
  Array.from({ length: count - 1 }, () => new Member(connection))
)
await synced(others)
await sleep(1000) // what was needed for joining only is given back
mark()
console.log(JSON.stringify({ joined: others.length }))
for (const member of [...firsts, ...others]) member.wire.close()
