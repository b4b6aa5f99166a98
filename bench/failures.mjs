// A load client that fails says so in its last line.

export function failures() {
  process.on('uncaughtException', (error) => {
    console.error(error)
    console.log(`failed: ${error.message}`)
    process.exit(1)
  })
}
