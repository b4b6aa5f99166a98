/** What servers find wrong, as the panel, the tabs and the tree show it. */
import type { Diagnostic as Reported, Range } from 'vscode-languageserver-protocol';
import { codeOf, severityOf, textOf } from './diagnostics';

export type Severity = ReturnType<typeof severityOf>;

/** One thing that is wrong, or worth a look. */
export interface Finding {
  path: string;
  range: Range;
  severity: Severity;
  message: string;
  /** Who says so: `Pyright reportMissingImports`. */
  source: string;
}

export interface Count {
  errors: number;
  warnings: number;
}

export function findingOf(path: string, each: Reported): Finding {
  return {
    path,
    range: each.range,
    severity: severityOf(each),
    message: textOf(each),
    source: [each.source, codeOf(each)].filter(Boolean).join(' '),
  };
}

/** "1 error, 2 warnings"; "" where nothing is wrong. */
export function said({ errors, warnings }: Count): string {
  const parts = [errors && `${errors} ${errors === 1 ? 'error' : 'errors'}`, warnings && `${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`];
  return parts.filter(Boolean).join(', ');
}

export function countOf(list: readonly Finding[]): Count {
  const count = (severity: Severity): number => list.filter((each) => each.severity === severity).length;
  return { errors: count('error'), warnings: count('warning') };
}
