import { afterEach, describe, expect, it, vi } from 'vitest';
import type { PortInfo } from '../protocol';
import { Ports } from './ports.svelte';

function port(number: number, more: Partial<PortInfo> = {}): PortInfo {
  const url = `http://${number}--w1.preview.localhost/`;
  return { port: number, open: true, visibility: 'private', url, ...more };
}

describe('the ports of a workspace', () => {
  afterEach(() => vi.unstubAllGlobals());

  it('tells of what opens, once, and not of what was there before', () => {
    const ports = new Ports('w1');
    expect(ports.take([port(5173)])).toEqual([]);
    expect(ports.take([port(5173), port(8000)])).toEqual([port(8000)]);
    expect(ports.take([])).toEqual([]);
    expect(ports.take([port(8000)])).toEqual([]);
    expect(ports.open.map((each) => each.port)).toEqual([8000]);
  });

  it('is not news that a closed port is shared', () => {
    const ports = new Ports('w1');
    ports.take([]);
    expect(ports.take([port(3000, { open: false, visibility: 'members' })])).toEqual([]);
    expect(ports.take([port(3000, { visibility: 'members' })])).toHaveLength(1);
  });

  it('keeps a public link for as long as the port is public', async () => {
    const answers = [
      port(3000, { visibility: 'public', link: 'http://3000--w1.preview.localhost/.cloudide/link#secret' }),
      port(3000),
    ];
    vi.stubGlobal('fetch', async () => new Response(JSON.stringify(answers.shift())));
    const ports = new Ports('w1');
    await ports.share(3000, 'public');
    expect(ports.address(port(3000))).toContain('#secret');
    await ports.share(3000, 'private');
    expect(ports.address(port(3000))).toBe('http://3000--w1.preview.localhost/');
  });
});
