import { expect, test } from 'vitest';
import { appended, eventsOf, LOG_LIMIT } from './images.svelte';

test('whole events are read, and the beginning of the next one is kept', () => {
  const text = 'id: 5\nevent: log\ndata: "a\\n"\n\n: still here\n\nevent: build\ndata: {"state":';
  const { events, rest } = eventsOf(text);
  expect(events).toEqual([{ type: 'log', data: '"a\\n"', id: '5' }]);
  expect(rest).toBe('event: build\ndata: {"state":');
  expect(eventsOf(`${rest}1}\n\n`).events).toEqual([{ type: 'build', data: '{"state":1}', id: '' }]);
});

test('of a long log the end is kept', () => {
  expect(appended('a', 'b')).toBe('ab');
  const long = appended('x'.repeat(LOG_LIMIT), 'the end');
  expect(long.length).toBe(LOG_LIMIT);
  expect(long.endsWith('the end')).toBe(true);
});
