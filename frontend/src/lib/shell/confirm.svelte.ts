export interface Question {
  title: string;
  text: string;
  action: string;
  danger: boolean;
  answer: (yes: boolean) => void;
}

/** Asks before something that cannot be taken back. */
class Confirm {
  question = $state.raw<Question | null>(null);

  ask(title: string, text: string, action: string, danger = true): Promise<boolean> {
    return new Promise((resolve) => {
      this.question = {
        title,
        text,
        action,
        danger,
        answer: (yes) => {
          this.question = null;
          resolve(yes);
        },
      };
    });
  }
}

export const confirm = new Confirm();
