/** Symbols of a document, and of all that the servers know, as a list to go to. */
import type { DocumentSymbol, Range, SymbolInformation, WorkspaceSymbol } from 'vscode-languageserver-protocol';
import type { Languages } from './languages.svelte';

export interface SymbolPlace {
  name: string;
  /** What it is, such as `class`. */
  kind: string;
  /** What it is part of. */
  container: string;
  path: string;
  range: Range;
}

const KINDS = [
  '', 'file', 'module', 'namespace', 'package', 'class', 'method', 'property', 'field', 'constructor', 'enum', 'interface',
  'function', 'variable', 'constant', 'string', 'number', 'boolean', 'array', 'object', 'key', 'null', 'enum member',
  'struct', 'event', 'operator', 'type parameter',
];
const LIMIT = 5000;

/** The symbols of a document in the order of its text, those inside of others behind them. */
export function flatten(symbols: readonly (DocumentSymbol | SymbolInformation)[], path: string): SymbolPlace[] {
  const flat: SymbolPlace[] = [];
  const walk = (list: readonly (DocumentSymbol | SymbolInformation)[], container: string, depth: number): void => {
    for (const symbol of list) {
      if (flat.length >= LIMIT || depth > 50) return;
      const range = 'selectionRange' in symbol ? symbol.selectionRange : (symbol as SymbolInformation).location.range;
      const within = 'containerName' in symbol ? (symbol.containerName ?? '') : container;
      flat.push({ name: symbol.name, kind: KINDS[symbol.kind] ?? '', container: within, path, range });
      if ('children' in symbol && symbol.children) walk(symbol.children, symbol.name, depth + 1);
    }
  };
  walk(symbols, '', 0);
  return flat.sort((a, b) => a.range.start.line - b.range.start.line || a.range.start.character - b.range.start.character);
}

export async function symbolsOf(languages: Languages, path: string): Promise<SymbolPlace[]> {
  const client = languages.connectionOf(path)?.client;
  if (!client?.serverCapabilities?.documentSymbolProvider) return [];
  const params = { textDocument: { uri: languages.uriOf(path) } };
  const found = await client.request<typeof params, (DocumentSymbol | SymbolInformation)[] | null>('textDocument/documentSymbol', params);
  return flatten(found ?? [], path);
}

/** What the servers that run find for a few letters. */
export async function symbolsFor(languages: Languages, query: string): Promise<SymbolPlace[]> {
  const answers = await Promise.all(
    languages.ready
      .filter(({ client }) => client.serverCapabilities?.workspaceSymbolProvider)
      .map(({ client }) => client.request<{ query: string }, (SymbolInformation | WorkspaceSymbol)[] | null>('workspace/symbol', { query }).catch(() => [])),
  );
  const known = new Set<string>();
  return answers.flatMap((found) =>
    (found ?? []).slice(0, LIMIT).flatMap(({ name, kind, location, containerName }) => {
      const path = languages.pathOf(location.uri);
      const range = 'range' in location ? location.range : { start: { line: 0, character: 0 }, end: { line: 0, character: 0 } };
      const key = `${path} ${range.start.line} ${name}`;
      if (path === null || known.has(key)) return [];
      known.add(key);
      return [{ name, kind: KINDS[kind] ?? '', container: containerName ?? '', path, range }];
    }),
  );
}
