import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

/** The server that `npm run dev` talks to. */
const server = process.env['CLOUDIDE_DEV_SERVER'] ?? 'http://localhost:8080';

export default defineConfig({
  plugins: [svelte()],
  // The server puts a fresh one in its place in each answer.
  html: { cspNonce: 'CSP-NONCE' },
  build: {
    outDir: '../cloudide/web/dist',
    emptyOutDir: true,
    // For `npm run size`; the server does not serve it.
    manifest: true,
    target: 'es2022',
    // The content security policy allows no data: fonts or scripts, so every asset is a file.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: { '/api': { target: server, ws: true } } },
  test: { environment: 'node', include: ['src/**/*.test.ts'], restoreMocks: true },
});
