// The unmodified Hocuspocus client with several documents on one socket, driven over standard
// input and output, one JSON object a line.
//
//   in:  connect {url, headers}  open {name}  insert {name, index, text}  let_go {name}
//        awareness {name, state}  drop {}  end {}
//   out: text {name, text}  synced {name}  unsynced {name, number}  admitted {name, scope}
//        denied {name, reason}  awareness {name, states}  stateless {name, payload}
//        status {status}

import { createInterface } from 'node:readline'
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import WebSocket from 'ws'

const documents = new Map()
let socket

const say = (event, message) => process.stdout.write(JSON.stringify({ event, ...message }) + '\n')

const commands = {
  connect({ url, headers }) {
    class Authenticated extends WebSocket {
      constructor(address, protocols) {
        super(address, protocols, { headers })
      }
    }
    socket = new HocuspocusProviderWebsocket({
      url,
      WebSocketPolyfill: Authenticated,
      delay: 50,
      minDelay: 50,
      onStatus: ({ status }) => say('status', { status }),
    })
  },
  open({ name }) {
    const provider = new HocuspocusProvider({
      websocketProvider: socket,
      name,
      token: 'not looked at',
      onSynced: () => say('synced', { name }),
      onUnsyncedChanges: ({ number }) => say('unsynced', { name, number }),
      onAuthenticated: ({ scope }) => say('admitted', { name, scope }),
      onAuthenticationFailed: ({ reason }) => say('denied', { name, reason }),
      onStateless: ({ payload }) => say('stateless', { name, payload }),
      onAwarenessUpdate: ({ states }) => say('awareness', { name, states }),
    })
    const text = provider.document.getText('content')
    text.observe(() => say('text', { name, text: text.toString() }))
    provider.attach()
    documents.set(name, { provider, text })
  },
  insert({ name, index, text }) {
    documents.get(name).text.insert(index, text)
  },
  awareness({ name, state }) {
    documents.get(name).provider.awareness.setLocalState(state)
  },
  let_go({ name }) {
    documents.get(name).provider.destroy()
  },
  drop() {
    socket.webSocket.terminate()
  },
  end() {
    process.exit(0)
  },
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { do: what, ...values } = JSON.parse(line)
  commands[what](values)
})
