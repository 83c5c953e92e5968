import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import { app } from './lib/app.svelte';
import { language } from './lib/i18n.svelte';

void app.start();
await language.begin();
const target = document.getElementById('app')!;
target.replaceChildren();
mount(App, { target });
