import { expect, it } from 'vitest';
import { assetsOf } from './worker';

it('has only files kept that never change and are ours', () => {
  const names = ['https://a/assets/x-1.js', 'https://a/api/v1/session', 'https://a/assets/x-1.js', 'https://b/assets/y.js', 'https://a/app.webmanifest'];
  expect(assetsOf(names.map((name) => ({ name })), 'https://a')).toEqual(['https://a/assets/x-1.js']);
});
