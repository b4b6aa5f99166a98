// A real Yjs document without a socket: whoever runs this carries its frames. One JSON object a line.
//
//   in:  open {}  shut {}  frame {data}  type {at, token}  erase {at, count}  read {}  end {}
//   out: frame {data}, as often as there is one, then done {…} once for every line that came in
//
// `data` is base64. `at` is from 0 to 1: of all places that are not inside a token, `[…]`, the one
// that lies there; a token is never typed into another.

import { createInterface } from 'node:readline'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import * as sync from 'y-protocols/sync'
import * as Y from 'yjs'

const SYNC = 0

const doc = new Y.Doc()
const text = doc.getText('content')
let open = false

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n')

const send = (write) => {
  if (!open) return
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, SYNC)
  const empty = encoding.length(encoder)
  write(encoder)
  if (encoding.length(encoder) === empty) return
  const data = Buffer.from(encoding.toUint8Array(encoder)).toString('base64')
  say({ event: 'frame', data })
}

doc.on('update', (update, origin) => {
  if (origin !== 'server') send((encoder) => sync.writeUpdate(encoder, update))
})

const places = () => {
  const content = text.toString()
  return [...content.matchAll(/\[/g)].map((match) => match.index).concat(content.length)
}

const commands = {
  open() {
    open = true
    send((encoder) => sync.writeSyncStep1(encoder, doc))
  },
  shut() {
    open = false
  },
  frame({ data }) {
    const decoder = decoding.createDecoder(Buffer.from(data, 'base64'))
    if (decoding.readVarUint(decoder) !== SYNC) return
    send((encoder) => sync.readSyncMessage(decoder, encoder, doc, 'server'))
  },
  type({ at, token }) {
    const all = places()
    text.insert(all[Math.floor(at * all.length)], token)
  },
  erase({ at, count }) {
    const all = places()
    const first = Math.floor(at * all.length)
    const last = Math.min(first + count, all.length - 1)
    const erased = text.toString().slice(all[first], all[last])
    text.delete(all[first], all[last] - all[first])
    return { erased }
  },
  read() {
    return { text: text.toString() }
  },
  end() {
    process.exit(0)
  },
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const message = JSON.parse(line)
  say({ event: 'done', ...commands[message.do](message) })
})
