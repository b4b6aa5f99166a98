// Screens of xterm.js without a browser. Reads one JSON list of jobs from standard input; writes the
// list of their dumps. A job is {cols, rows, steps}: base64 bytes to draw, or "dump".
import headless from '@xterm/headless'
import unicode from '@xterm/addon-unicode11'
import serialize from '@xterm/addon-serialize'

const { Terminal } = headless
const { Unicode11Addon } = unicode
const { SerializeAddon } = serialize

const cellOf = (cell) =>
  [
    cell.getChars(), cell.getWidth(), cell.getFgColorMode(), cell.getFgColor(), cell.getBgColorMode(), cell.getBgColor(),
    cell.isBold(), cell.isItalic(), cell.isDim(), cell.isUnderline(), cell.isBlink(), cell.isInverse(),
    cell.isInvisible(), cell.isStrikethrough(), cell.isOverline(),
  ].join(',')

/** The rows that are seen: [text, attributes]. */
function rowsOf(terminal, buffer) {
  const rows = []
  for (let y = 0; y < terminal.rows; y++) {
    const line = buffer.getLine(buffer.baseY + y)
    const cells = []
    for (let x = 0; line && x < terminal.cols; x++) cells.push(cellOf(line.getCell(x)))
    rows.push([line ? line.translateToString() : '', cells.join('|')])
  }
  return rows
}

function dump(terminal, title, answers) {
  const core = terminal._core
  const { active } = terminal.buffer
  const charsets = core._charsetService
  return {
    screen: active.type,
    rows: rowsOf(terminal, active),
    cursor: [active.cursorX, active.cursorY],
    modes: {
      ...terminal.modes,
      hidden: core.coreService.isCursorHidden,
      cursorStyle: core.coreService.decPrivateModes.cursorStyle ?? null,
      encoding: core.coreMouseService.activeEncoding,
      region: [core.buffer.scrollTop, core.buffer.scrollBottom],
      charsets: [charsets.glevel, ...[0, 1, 2, 3].map((g) => JSON.stringify(charsets._charsets[g] ?? null))],
      rendition: [core._inputHandler._curAttrData.fg, core._inputHandler._curAttrData.bg],
      newLine: terminal.options.convertEol,
    },
    title,
    serialized: terminal.serializer.serialize(),
    answers: [...answers],
  }
}

async function perform({ cols, rows, steps }) {
  const terminal = new Terminal({ cols, rows, scrollback: 2000, allowProposedApi: true })
  terminal.loadAddon(new Unicode11Addon())
  terminal.unicode.activeVersion = '11'
  terminal.serializer = new SerializeAddon()
  terminal.loadAddon(terminal.serializer)
  let title = ''
  const answers = []
  terminal.onTitleChange((to) => (title = to))
  terminal.onData((data) => answers.push(data))
  terminal.onBell(() => answers.push('bell'))
  const dumps = []
  for (const step of steps) {
    if (step === 'dump') dumps.push(dump(terminal, title, answers))
    else await new Promise((done) => terminal.write(Buffer.from(step, 'base64'), done))
  }
  terminal.dispose()
  return dumps
}

let input = ''
for await (const chunk of process.stdin) input += chunk
const dumps = []
for (const job of JSON.parse(input)) dumps.push(await perform(job))
process.stdout.write(JSON.stringify(dumps))
