// Runs last: every operation of openapi.yaml was exercised with every status it documents.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import test from 'node:test'
import { openapi } from '../../kit/api.mjs'

test('every documented operation × status was exercised', () => {
  const file = process.env.GUICHET_API_COVERAGE
  assert.ok(file && fs.existsSync(file), 'GUICHET_API_COVERAGE names no file: run this through tests/run e2e')
  const seen = new Set(fs.readFileSync(file, 'utf8').split('\n'))
  const missing = []
  for (const [template, item] of Object.entries(openapi.paths))
    for (const [method, operation] of Object.entries(item))
      for (const status of Object.keys(operation.responses ?? {}))
        if (!seen.has(`${method.toUpperCase()} ${template} ${status}`)) missing.push(`${method.toUpperCase()} ${template} ${status}`)
  assert.deepEqual(missing, [])
})
