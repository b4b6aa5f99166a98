// A websocket client that costs next to nothing, so that one process can be hundreds of readers.
//
// It speaks the y-websocket protocol without keeping a document: what arrives is kept as it came,
// and each update is looked at where it lies, with the moment it arrived. Frames go out under the
// masking key 0 (RFC 6455 section 5.3 leaves the choice to the client), so that they can be made
// beforehand. Hocuspocus speaks the same messages behind the document's name, after a token.

import net from 'node:net'
import { performance } from 'node:perf_hooks'
import * as encoding from 'lib0/encoding'
import { Reader } from './reader.mjs'

const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10

const SYNC = 0
const AUTHENTICATION = 2
const HOCUSPOCUS_SYNC_REPLY = 4
const EXTENSION = 64 // of CloudIDE: how many messages of this socket are durable
const STEP_2 = 1
const UPDATE = 2

const HEAD_END = Buffer.from('\r\n\r\n')
const NOTHING = Buffer.alloc(0)

const reader = new Reader() // one for all: nothing is read half

export class Wire {
  constructor({ url, headers = {}, subprotocols = [], document = '' }) {
    this.document = document
    this.onUpdate = () => {} // (reader at the update's first byte, when it arrived)
    this.onAcknowledged = () => {} // (how many messages, when that arrived)
    this.received = [] // chunks
    this.rest = NOTHING
    this.upgraded = false
    this.closing = false
    this.synced = new Promise((resolve, reject) => {
      this.onSynced = resolve
      this.fail = (error) => {
        reject(error)
        if (!this.closing) throw error
      }
    })
    const { hostname, port, pathname, host } = new URL(url)
    const head = { Host: host, ...headers }
    if (subprotocols.length) head['Sec-WebSocket-Protocol'] = subprotocols.join(', ')
    this.socket = net.connect({ host: hostname, port: Number(port), noDelay: true }, () => {
      const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}\r\n`)
      this.socket.write(
        `GET ${pathname} HTTP/1.1\r\n${lines.join('')}Upgrade: websocket\r\nConnection: Upgrade\r\n` +
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'
      )
    })
    this.socket.on('data', (chunk) => this.read(chunk))
    this.socket.on('error', (error) => this.fail(error))
    this.socket.on('close', () => this.fail(new Error('the server closed the connection')))
  }

  /** All updates so far, as bytes. */
  updates() {
    const updates = []
    const data = Buffer.concat(this.received)
    this.frames(data, (opcode, start, end) => {
      if (opcode === BINARY && this.find(data, start, end)) {
        updates.push(data.subarray(reader.position, reader.end))
      }
    })
    return updates
  }

  read(chunk) {
    const at = performance.now()
    let data = this.rest.length ? Buffer.concat([this.rest, chunk]) : chunk
    if (!this.upgraded) {
      const end = data.indexOf(HEAD_END)
      if (end < 0) {
        this.rest = data
        return
      }
      const status = data.toString('latin1', 0, data.indexOf('\r\n'))
      if (!status.includes(' 101 ')) return this.fail(new Error(status))
      this.upgraded = true
      data = chunk = data.subarray(end + HEAD_END.length)
      this.join()
    }
    this.received.push(chunk)
    const read = this.frames(data, (opcode, start, end) => {
      if (opcode === BINARY) {
        const step = this.find(data, start, end)
        if (step) this.onUpdate(reader, at)
        else if (data[start] === EXTENSION) this.extension(data, start, end, at)
        if (step === STEP_2) this.onSynced()
      } else this.control(opcode, data.subarray(start, end))
    })
    this.rest = read < data.length ? data.subarray(read) : NOTHING
  }

  /** Call `visit(opcode, start, end)` for each complete frame; returns where the next begins. */
  frames(data, visit) {
    let position = 0
    while (data.length - position >= 2) {
      let length = data[position + 1]
      let start = position + 2
      if (length === 126) {
        if (data.length - position < 4) break
        length = data.readUInt16BE(start)
        start += 2
      } else if (length === 127) {
        if (data.length - position < 10) break
        length = Number(data.readBigUInt64BE(start))
        start += 8
      }
      if (data.length - start < length) break
      if (data[position] < 0x80) throw new Error('a fragmented message')
      visit(data[position] & 0x0f, start, start + length)
      position = start + length
    }
    return position
  }

  /** Set the reader to the update that a message carries; returns the step, 0 for other messages. */
  find(data, start, end) {
    reader.begin(data, start, end)
    if (this.document) reader.skip(reader.uint())
    const kind = reader.uint()
    if (kind !== SYNC && !(kind === HOCUSPOCUS_SYNC_REPLY && this.document)) return 0
    const step = reader.uint()
    if (step !== STEP_2 && step !== UPDATE) return 0
    reader.uint() // its length: it fills the message
    return step
  }

  extension(data, start, end, at) {
    reader.begin(data, start + 1, end)
    const length = reader.uint()
    const message = JSON.parse(data.toString('utf8', reader.position, reader.position + length))
    if (message.type === 'ack') this.onAcknowledged(message.count, at)
  }

  control(opcode, body) {
    if (opcode === PING) this.socket.write(frame(body, PONG))
    else if (opcode === CLOSE) {
      const code = body.length >= 2 ? body.readUInt16BE(0) : 1005
      this.fail(new Error(`closed: ${code} ${body.toString('utf8', 2)}`))
    } else if (opcode !== PONG) throw new Error(`a frame of kind ${opcode}`)
  }

  join() {
    if (this.document) {
      const token = this.begin(AUTHENTICATION)
      encoding.writeVarUint(token, 0)
      encoding.writeVarString(token, '')
      this.socket.write(frame(encoding.toUint8Array(token)))
    }
    const first = this.begin(SYNC)
    encoding.writeVarUint(first, 0)
    encoding.writeVarUint8Array(first, Uint8Array.of(0)) // the state vector of an empty document
    this.socket.write(frame(encoding.toUint8Array(first)))
  }

  begin(kind) {
    const encoder = encoding.createEncoder()
    if (this.document) encoding.writeVarString(encoder, this.document)
    encoding.writeVarUint(encoder, kind)
    return encoder
  }

  /** The frame that carries an update of this connection's document. */
  frameOf(update) {
    const encoder = this.begin(SYNC)
    encoding.writeVarUint(encoder, UPDATE)
    encoding.writeVarUint8Array(encoder, update)
    return frame(encoding.toUint8Array(encoder))
  }

  close() {
    this.closing = true
    this.socket.destroy()
  }
}

function frame(body, opcode = BINARY) {
  const { length } = body
  const head = length < 126 ? 6 : length < 65536 ? 8 : 14
  const bytes = Buffer.alloc(head + length) // the masking key stays 0
  bytes[0] = 0x80 | opcode
  if (head === 6) bytes[1] = 0x80 | length
  else if (head === 8) {
    bytes[1] = 0x80 | 126
    bytes.writeUInt16BE(length, 2)
  } else {
    bytes[1] = 0x80 | 127
    bytes.writeBigUInt64BE(BigInt(length), 2)
  }
  bytes.set(body, head)
  return bytes
}
