/** Which language a file is in, and how its text is coloured. */
import { HighlightStyle, LanguageDescription, type LanguageSupport, syntaxHighlighting } from '@codemirror/language';
import { languages } from '@codemirror/language-data';
import { tags as t } from '@lezer/highlight';
import { baseName } from '../files/paths';

/** File names that the language data does not know by their extension. */
const BY_NAME: Record<string, string> = {
  Makefile: 'Shell',
  '.bashrc': 'Shell',
  '.profile': 'Shell',
  'requirements.txt': 'Properties files',
  '.gitignore': 'Properties files',
  '.editorconfig': 'Properties files',
  'poetry.lock': 'TOML',
  'uv.lock': 'TOML',
};

export function languageOf(path: string): LanguageDescription | null {
  const name = baseName(path);
  const special = BY_NAME[name];
  if (special) return languages.find((language) => language.name === special) ?? null;
  return LanguageDescription.matchFilename(languages, name);
}

export async function loadLanguage(path: string): Promise<LanguageSupport | null> {
  return (await languageOf(path)?.load()) ?? null;
}

export const style = HighlightStyle.define([
  { tag: [t.keyword, t.modifier, t.operatorKeyword, t.controlKeyword], color: 'var(--syn-keyword)' },
  { tag: [t.string, t.special(t.string), t.regexp, t.character, t.attributeValue], color: 'var(--syn-string)' },
  { tag: [t.comment, t.lineComment, t.blockComment], color: 'var(--syn-comment)', fontStyle: 'italic' },
  { tag: t.docString, color: 'var(--syn-string)' },
  { tag: [t.number, t.bool, t.null, t.atom, t.constant(t.name), t.escape], color: 'var(--syn-number)' },
  {
    tag: [t.function(t.variableName), t.function(t.propertyName), t.definition(t.function(t.variableName)), t.macroName],
    color: 'var(--syn-function)',
  },
  { tag: [t.typeName, t.className, t.namespace, t.standard(t.name)], color: 'var(--syn-type)' },
  { tag: [t.propertyName, t.attributeName, t.labelName], color: 'var(--syn-property)' },
  { tag: [t.tagName, t.angleBracket], color: 'var(--syn-tag)' },
  { tag: [t.meta, t.processingInstruction, t.annotation], color: 'var(--syn-type)' },
  { tag: [t.variableName, t.definition(t.variableName)], color: 'var(--syn-name)' },
  { tag: t.self, color: 'var(--syn-keyword)' },
  { tag: t.heading, color: 'var(--syn-function)', fontWeight: '650' },
  { tag: t.strong, fontWeight: '650' },
  { tag: t.emphasis, fontStyle: 'italic' },
  { tag: [t.link, t.url], color: 'var(--syn-function)', textDecoration: 'underline' },
  { tag: t.monospace, color: 'var(--syn-string)' },
  { tag: t.inserted, color: 'var(--good)' },
  { tag: [t.deleted, t.invalid], color: 'var(--bad)' },
]);

export const highlighting = syntaxHighlighting(style);
