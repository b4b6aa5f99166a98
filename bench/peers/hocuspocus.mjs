// A Hocuspocus server; with DATABASE, its documents are kept in that SQLite file.
import { SQLite } from '@hocuspocus/extension-sqlite'
import { Server } from '@hocuspocus/server'

const { PORT, HOST, DATABASE } = process.env
const server = new Server({
  port: Number(PORT),
  address: HOST,
  quiet: true,
  extensions: DATABASE ? [new SQLite({ database: DATABASE })] : [],
})
await server.listen()
