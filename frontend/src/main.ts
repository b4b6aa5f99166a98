import './app.css';
import { mount } from 'svelte';
import App from './App.svelte';

const target = document.getElementById('app');
if (!target) throw new Error('index.html has no #app');
// A browser gives up on a stylesheet whose connection broke, and shows the page bare: ask again.
if (!getComputedStyle(document.documentElement).getPropertyValue('--mono')) {
  for (const link of document.querySelectorAll<HTMLLinkElement>('link[rel="stylesheet"]')) {
    const again = link.cloneNode() as HTMLLinkElement;
    again.nonce = link.nonce;
    link.replaceWith(again);
  }
}
mount(App, { target });
