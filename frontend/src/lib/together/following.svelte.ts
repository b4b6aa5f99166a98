/** Following somebody: into the files that they open, and to where they are in them. */
import type { Documents } from '../editor/documents.svelte';
import type { Person } from '../protocol';

export class Following {
  /** Whom I follow, by id. */
  person = $state<string | null>(null);

  constructor(private readonly documents: Documents) {}

  start(person: Person): void {
    this.person = person.id;
    if (person.path) this.documents.open(person.path);
    this.look();
  }

  stop(): void {
    this.person = null;
  }

  /** Whoever I follow may be in another file now. */
  take(people: readonly Person[]): void {
    if (this.person === null) return;
    const person = people.find(({ id }) => id === this.person);
    if (!person) {
      this.stop();
      return;
    }
    if (person.path !== null && person.path !== this.documents.activePath) this.documents.open(person.path);
  }

  /** Shows what they see of the file that both are in. */
  look(): void {
    if (this.person === null) return;
    const document = this.documents.active;
    const at = document?.placeOfPerson(this.person);
    if (document?.editor && at !== null && at !== undefined) document.editor.show(at);
  }
}
