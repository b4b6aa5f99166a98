// Reads lib0 numbers, and of a Yjs update (version 1) how far into each client's text it goes,
// without making anything of it.
//
// Source: `readClientsStructRefs`, `Item.write` and `ContentString` of Yjs 13.

const ORIGIN = 0x80
const RIGHT_ORIGIN = 0x40
const PARENT_KEY = 0x20
const KIND = 0x1f
const GARBAGE = 0
const DELETED = 1
const STRING = 4
const SKIP = 10

export class Reader {
  begin(data, position, end) {
    this.data = data
    this.position = position
    this.end = end
  }

  uint() {
    const { data } = this
    let byte = data[this.position++]
    let value = byte & 0x7f
    for (let factor = 128; byte >= 0x80; factor *= 128) {
      byte = data[this.position++]
      value += (byte & 0x7f) * factor
    }
    return value
  }

  skip(bytes) {
    this.position += bytes
  }

  /** Call `visit(client, clock after its last item)` for each client that an update has text of.
   * The text is taken to be ASCII, where a byte is a unit of the clock. */
  clocks(visit) {
    for (let clients = this.uint(); clients > 0; clients--) {
      let items = this.uint()
      const client = this.uint()
      let clock = this.uint()
      for (; items > 0; items--) {
        const first = this.data[this.position++]
        const kind = first & KIND
        if (kind !== GARBAGE && kind !== SKIP) this.place(first)
        const length = this.uint()
        clock += length
        if (kind === STRING) this.position += length
        else if (kind !== GARBAGE && kind !== SKIP && kind !== DELETED) {
          throw new Error(`an item of kind ${kind}`)
        }
      }
      visit(client, clock)
    }
  }

  /** Pass over what an item says of its place. */
  place(first) {
    if (first & ORIGIN) this.id()
    if (first & RIGHT_ORIGIN) this.id()
    if (first & (ORIGIN | RIGHT_ORIGIN)) return
    if (this.uint() === 1) this.skip(this.uint())
    else this.id()
    if (first & PARENT_KEY) this.skip(this.uint())
  }

  id() {
    this.uint()
    this.uint()
  }
}
