// A client of the y-websocket protocol, the same for every server that is measured.
//
// Hocuspocus speaks the same messages behind the document's name, after a token; with the
// subprotocol of CloudIDE the server also says how many messages are durable.

import { performance } from 'node:perf_hooks'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import WebSocket from 'ws'
import * as sync from 'y-protocols/sync'
import * as Y from 'yjs'

const SYNC = 0
const HOCUSPOCUS_AUTHENTICATION = 2
const EXTENSION = 64

export class Client {
  constructor({ url, headers = {}, subprotocols = [], document = '' }) {
    this.doc = new Y.Doc()
    this.text = this.doc.getText('content')
    this.document = document
    this.sent = 0
    this.acknowledged = 0
    this.sentAt = new Map()
    this.acknowledgements = [] // milliseconds from sending to "durable"
    this.onAcknowledged = () => {}
    this.socket = new WebSocket(url, subprotocols, { headers, perMessageDeflate: false })
    this.socket.binaryType = 'arraybuffer'
    this.synced = new Promise((resolve, reject) => {
      this.onSynced = resolve
      this.socket.on('error', reject)
      this.socket.on('close', (code, reason) => reject(new Error(`closed: ${code} ${reason}`)))
    })
    this.socket.on('open', () => {
      if (document) {
        const token = this.begin(HOCUSPOCUS_AUTHENTICATION)
        encoding.writeVarUint(token, 0)
        encoding.writeVarString(token, '')
        this.send(token)
      }
      const first = this.begin(SYNC)
      sync.writeSyncStep1(first, this.doc)
      this.send(first)
    })
    this.socket.on('message', (data) => this.receive(new Uint8Array(data)))
    this.doc.on('update', (update, origin) => {
      if (origin === this) return
      const message = this.begin(SYNC)
      sync.writeUpdate(message, update)
      this.send(message)
      this.count()
    })
  }

  begin(kind) {
    const encoder = encoding.createEncoder()
    if (this.document) encoding.writeVarString(encoder, this.document)
    encoding.writeVarUint(encoder, kind)
    return encoder
  }

  send(encoder) {
    this.socket.send(encoding.toUint8Array(encoder))
  }

  count() {
    this.sent += 1
    this.sentAt.set(this.sent, performance.now())
  }

  receive(frame) {
    const decoder = decoding.createDecoder(frame)
    if (this.document) decoding.readVarString(decoder)
    const kind = decoding.readVarUint(decoder)
    if (kind === EXTENSION) {
      this.extension(JSON.parse(decoding.readVarString(decoder)))
    } else if (kind === SYNC || (kind === 4 && this.document)) {
      const answer = this.begin(SYNC)
      const empty = encoding.length(answer)
      const step = sync.readSyncMessage(decoder, answer, this.doc, this)
      if (encoding.length(answer) > empty) {
        this.send(answer)
        this.count()
      }
      if (step === sync.messageYjsSyncStep2) this.onSynced()
    }
  }

  extension(message) {
    if (message.type !== 'ack') return
    const now = performance.now()
    for (let number = this.acknowledged + 1; number <= message.count; number++) {
      this.acknowledgements.push(now - this.sentAt.get(number))
      this.sentAt.delete(number)
    }
    this.acknowledged = message.count
    this.onAcknowledged()
  }

  close() {
    this.socket.removeAllListeners('close')
    this.socket.close()
  }
}
