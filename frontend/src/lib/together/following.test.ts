import { describe, expect, it, vi } from 'vitest';
import type { Documents } from '../editor/documents.svelte';
import type { Person } from '../protocol';
import { Following } from './following.svelte';

const person = (id: string, path: string | null): Person => ({ id, name: id, color: '#000', role: 'editor', path });

function fake(): { documents: Documents; opened: string[]; show: ReturnType<typeof vi.fn> } {
  const opened: string[] = [];
  const show = vi.fn();
  const documents = {
    activePath: null as string | null,
    active: { editor: { show }, placeOfPerson: (id: string) => (id === 'bo' ? 42 : null) },
    open(path: string) {
      opened.push(path);
      documents.activePath = path;
    },
  };
  return { documents: documents as unknown as Documents, opened, show };
}

describe('following somebody', () => {
  it('goes where they go, until they leave', () => {
    const { documents, opened, show } = fake();
    const following = new Following(documents);
    following.start(person('bo', 'a'));
    expect(show).toHaveBeenCalledWith(42);
    following.take([person('bo', 'a'), person('cy', 'z')]);
    following.take([person('bo', 'b')]);
    following.take([person('bo', null)]);
    expect(opened).toEqual(['a', 'b']);
    following.take([person('cy', 'z')]);
    expect(following.person).toBeNull();
  });

  it('goes nowhere when nobody is followed', () => {
    const { documents, opened, show } = fake();
    const following = new Following(documents);
    following.take([person('bo', 'a')]);
    following.look();
    expect(opened).toEqual([]);
    expect(show).not.toHaveBeenCalled();
  });
});
