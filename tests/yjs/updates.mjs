// Real Yjs updates, one a line in hex: text as people type it, and everything else that a Yjs
// client may put beside it. Argument: how many.

import * as Y from 'yjs'

const count = Number(process.argv[2])
const words = ['a', 'word', 'é', '汉字', '😀', 'a 👩‍💻 b', '\n', 'x'.repeat(40)]
let seed = 1
const below = (limit) => {
  seed = (seed * 48271) % 2147483647
  return seed % limit
}

const docs = [1, 2, 3].map((clientID) => {
  const doc = new Y.Doc()
  doc.clientID = clientID + 1000
  return doc
})
const lines = []
docs.forEach((doc) => doc.on('update', (update) => lines.push(update)))

const kinds = [
  (text) => text.insert(below(text.length + 1), words[below(words.length)]),
  (text) => text.insert(below(text.length + 1), words[below(words.length)]),
  (text) => text.length > 8 && text.delete(below(text.length - 8), below(8) + 1),
  (text) => text.insertEmbed(below(text.length + 1), { image: 'x' }),
  (text) => text.length > 8 && text.format(below(text.length - 8), 5, { bold: true }),
  (text, doc) => doc.getMap('values').set('k' + below(5), [1, -2.5, 'x', null, { deep: true }]),
  (text, doc) => doc.getMap('values').set('bytes', new Uint8Array([1, 2, 3])),
  (text, doc) => doc.getMap('values').set('big', 2n ** 40n),
  (text, doc) => doc.getArray('list').insert(0, [below(1000), new Y.Text('nested')]),
  (text, doc) => doc.getXmlFragment('xml').insert(0, [new Y.XmlElement('p')]),
  (text, doc) => doc.getMap('values').set('doc', new Y.Doc({ guid: 'g' + below(9) })),
]

while (lines.length < count) {
  const doc = docs[below(docs.length)]
  if (below(10) === 0) {
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(docs[below(docs.length)]))
  } else {
    kinds[below(kinds.length)](doc.getText('content'), doc)
  }
}
const all = lines.slice(0, count).filter((line) => line.length < 2000)
all.push(Y.mergeUpdates(lines.slice(0, 20)), Y.encodeStateAsUpdate(docs[0]))
console.log(all.map((line) => Buffer.from(line).toString('hex')).join('\n'))
