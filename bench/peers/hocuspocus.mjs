// A Hocuspocus server with its documents in memory.
import { Server } from '@hocuspocus/server'

const server = new Server({ port: Number(process.env.PORT), address: process.env.HOST, quiet: true })
await server.listen()
