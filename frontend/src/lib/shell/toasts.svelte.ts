import { messageOf } from '../session/api';

export interface Toast {
  id: number;
  kind: 'info' | 'error';
  text: string;
  action?: ToastAction;
}

export interface ToastAction {
  label: string;
  run: () => void;
}

/** Short messages in the corner; an error stays until it is read, news leaves by itself. */
class Toasts {
  list = $state<Toast[]>([]);
  #next = 1;

  /** The answer is what `dismiss` takes. */
  info(text: string, action?: ToastAction): number {
    const id = this.#add('info', text, action);
    setTimeout(() => this.dismiss(id), action ? 12_000 : 5000);
    return id;
  }

  error(error: unknown, what = ''): void {
    const text = what ? `${what}: ${messageOf(error)}` : messageOf(error);
    if (this.list.some((toast) => toast.text === text)) return;
    const id = this.#add('error', text);
    setTimeout(() => this.dismiss(id), 15_000);
  }

  dismiss(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }

  #add(kind: Toast['kind'], text: string, action?: ToastAction): number {
    const id = this.#next++;
    this.list = [...this.list.slice(-3), { id, kind, text, ...(action ? { action } : {}) }];
    return id;
  }
}

export const toasts = new Toasts();
