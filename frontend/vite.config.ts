import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  base: './', // the server says below which path the page lies (backend/web/pages.py)
  plugins: [react()],
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  server: { proxy: { '/api': process.env.UNWEAVE_API ?? 'http://127.0.0.1:8000' } },
  build: { target: 'es2022', chunkSizeWarningLimit: 1600 },
  test: { environment: 'jsdom', include: ['src/**/*.test.{ts,tsx}'] },
})
