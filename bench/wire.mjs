// A websocket client that costs next to nothing, so that one process can be hundreds of readers.
//
// It speaks the y-websocket protocol without keeping a document: an update is handed on as bytes,
// with the moment it arrived. Frames go out under the masking key 0 (RFC 6455 section 5.3 lets the
// client choose), which makes a frame the same bytes for every send. Hocuspocus speaks the same
// messages behind the document's name, after a token.

import net from 'node:net'
import { performance } from 'node:perf_hooks'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'

const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10

const SYNC = 0
const AUTHENTICATION = 2
const HOCUSPOCUS_SYNC_REPLY = 4
const EXTENSION = 64
const STEP_2 = 1
const UPDATE = 2

const HEAD_END = Buffer.from('\r\n\r\n')

export class Wire {
  /** `onUpdate(update, at)` gets each update, the first sync's included, and when it arrived. */
  constructor({ url, headers = {}, subprotocols = [], document = '' }) {
    this.document = document
    this.onUpdate = () => {}
    this.onAcknowledged = () => {}
    this.rest = Buffer.alloc(0)
    this.upgraded = false
    this.closing = false
    this.bytes = 0
    this.synced = new Promise((resolve, reject) => {
      this.onSynced = resolve
      this.fail = (error) => {
        reject(error)
        if (!this.closing) this.onFailure(error)
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

  onFailure(error) {
    throw error
  }

  read(chunk) {
    const at = performance.now()
    this.bytes += chunk.length
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
      data = data.subarray(end + HEAD_END.length)
      this.join()
    }
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
      this.frame(data[position], data.subarray(start, start + length), at)
      position = start + length
    }
    this.rest = data.subarray(position)
  }

  frame(first, body, at) {
    if ((first & 0x80) === 0) throw new Error('a fragmented message')
    const opcode = first & 0x0f
    if (opcode === BINARY) this.message(body, at)
    else if (opcode === PING) this.socket.write(frame(body, PONG))
    else if (opcode === CLOSE) {
      const code = body.length >= 2 ? body.readUInt16BE(0) : 1005
      this.fail(new Error(`closed: ${code} ${body.toString('utf8', 2)}`))
    } else if (opcode === TEXT) throw new Error('a text frame')
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

  message(body, at) {
    const decoder = decoding.createDecoder(body)
    if (this.document) decoder.pos += decoding.readVarUint(decoder)
    const kind = decoding.readVarUint(decoder)
    if (kind === SYNC || (kind === HOCUSPOCUS_SYNC_REPLY && this.document)) {
      const step = decoding.readVarUint(decoder)
      if (step === STEP_2 || step === UPDATE) {
        this.onUpdate(decoding.readVarUint8Array(decoder), at)
        if (step === STEP_2) this.onSynced()
      }
    } else if (kind === EXTENSION) {
      const message = JSON.parse(decoding.readVarString(decoder))
      if (message.type === 'ack') this.onAcknowledged(message.count, at)
    }
  }

  begin(kind) {
    const encoder = encoding.createEncoder()
    if (this.document) encoding.writeVarString(encoder, this.document)
    encoding.writeVarUint(encoder, kind)
    return encoder
  }

  /** The frame that carries an update of this connection's document. */
  update(update) {
    const encoder = this.begin(SYNC)
    encoding.writeVarUint(encoder, UPDATE)
    encoding.writeVarUint8Array(encoder, update)
    return frame(encoding.toUint8Array(encoder))
  }

  send(frames) {
    this.socket.write(frames)
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
