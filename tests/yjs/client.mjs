// The unmodified y-websocket client, driven over standard input and output, one JSON object a line.
//
//   in:  connect {url, headers, params}  insert {index, text}  delete {index, length}
//        awareness {state}  drop {}  end {}
//   out: status {status}  sync {synced}  text {text}  awareness {own, states}
//        closed {code, reason}

import { createInterface } from 'node:readline'
import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

const doc = new Y.Doc()
const text = doc.getText('content')
let provider

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n')

text.observe(() => say({ event: 'text', text: text.toString() }))

const commands = {
  connect({ url, headers, params = {} }) {
    // A browser would send its cookie; here the socket itself says who this is.
    class Authenticated extends WebSocket {
      constructor(address, protocols) {
        super(address, protocols, { headers })
      }
    }
    const cut = url.lastIndexOf('/')
    provider = new WebsocketProvider(url.slice(0, cut), url.slice(cut + 1), doc, {
      WebSocketPolyfill: Authenticated,
      disableBc: true,
      params,
    })
    provider.on('status', ({ status }) => say({ event: 'status', status }))
    provider.on('sync', (synced) => say({ event: 'sync', synced }))
    // Said when the server closed for good: the client does not try again.
    provider.on('closed', ({ code, reason }) => say({ event: 'closed', code, reason }))
    provider.awareness.on('update', () =>
      say({
        event: 'awareness',
        own: doc.clientID,
        states: Object.fromEntries(provider.awareness.getStates()),
      }),
    )
  },
  insert({ index, text: inserted }) {
    text.insert(Math.min(index, text.length), inserted)
  },
  delete({ index, length }) {
    text.delete(index, length)
  },
  awareness({ state }) {
    provider.awareness.setLocalState(state)
  },
  drop() {
    provider.ws.terminate()
  },
  end() {
    process.exit(0)
  },
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const message = JSON.parse(line)
  commands[message.do](message)
})
