import { describe, expect, it } from 'vitest';
import type { ServiceInfo } from '../protocol';
import { Services } from './services.svelte';

function service(name: string, state: ServiceInfo['state']): ServiceInfo {
  return { name, image: 'python', state, ports: [], depends_on: [], error: '' };
}

describe('the services of a workspace', () => {
  it('has something to show when any is declared, wrong or not applied', () => {
    const services = new Services('w1');
    expect(services.any).toBe(false);
    services.take({ services: [], problems: [], outdated: true, image: '', secrets: [] });
    expect(services.any).toBe(true);
    services.take({ services: [], problems: [{ file: 'cloudide.toml', message: 'x', line: 1, column: 1 }], outdated: false, image: '', secrets: [] });
    expect(services.any).toBe(true);
    services.take({ services: [], problems: [], outdated: false, image: '', secrets: [] });
    expect(services.any).toBe(false);
  });

  it('knows which somebody has to look at', () => {
    const services = new Services('w1');
    services.take({
      services: [service('a', 'healthy'), service('b', 'unhealthy'), service('c', 'failed'), service('d', 'waiting')],
      problems: [],
      outdated: false,
      image: '',
      secrets: [],
    });
    expect(services.ailing.map((each) => each.name)).toEqual(['b', 'c']);
  });
});
