// Each lint is green on the project, and red on one violation seeded for it.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { top } from '../kit/house.mjs'
import * as describe from './describe.mjs'
import * as failpoints from './failpoints.mjs'
import * as layers from './layers.mjs'
import * as names from './names.mjs'
import * as proto from './proto.mjs'
import * as scoped from './scoped.mjs'
import * as sizes from './sizes.mjs'
import * as text from './text.mjs'

function seeded(files) {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'guichet-lint-'))
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    fs.writeFileSync(path.join(root, name), content)
  }
  return root
}

for (const [name, lint] of Object.entries({ sizes, layers, text, proto, scoped, failpoints })) {
  test(`lint ${name}: the project`, () => assert.deepEqual(lint.check(top), []))
  test(`lint ${name}: red on a seeded violation`, () => {
    const root = seeded(lint.seed)
    assert.notEqual(lint.check(root).length, 0)
    fs.rmSync(root, { recursive: true })
  })
}

test('lint names: the project', () => {
  const rows = names.exportsOf(top)
  assert.ok(rows.length > 100, `only ${rows.length} exported names seen: is build-test built?`)
  assert.deepEqual(names.check(top, rows), [])
})
test('lint names: red on a seeded violation', () => assert.equal(names.check(top, names.seedRows).length, 1))

test('lint describe: the project', () => assert.deepEqual(describe.check(top), []))
test('lint describe: red on a seeded violation', () => {
  assert.notEqual(describe.check(top, () => 'another text').length, 0)
})
