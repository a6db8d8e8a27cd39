// What ipywidgets leaves out for those who use a keyboard or a screen reader: names of slider handles, a stop at what
// scrolls, the focus, and keys that stay in a view (in command mode the letter X on a menu would cut the cell).
function complete() {
  for (const slider of document.querySelectorAll('.tabtune-live .widget-slider, .tabtune-live .jupyter-widget-slider')) {
    const name = slider.querySelector('.widget-label')?.textContent || slider.title || 'value';
    for (const handle of slider.querySelectorAll('.noUi-handle:not([aria-label])')) handle.setAttribute('aria-label', name);
  }
  for (const box of document.querySelectorAll('.tabtune-live .widget-html:not([tabindex]), .tabtune-live .widget-box:not([tabindex])')) {
    if (!/auto|scroll/.test(box.style.overflow) || (box.scrollWidth <= box.clientWidth && box.scrollHeight <= box.clientHeight)) continue;
    box.tabIndex = 0;
    box.setAttribute('role', 'group');
    box.setAttribute('aria-label', 'scrolls');
  }
  for (const bar of document.querySelectorAll('.tabtune-live .lm-TabBar-content')) { // Tab stops at the tab that is shown
    if (bar.contains(document.activeElement)) continue;
    for (const tab of bar.children) {
      const at = tab.classList.contains('lm-mod-current') ? 0 : -1;
      if (tab.tabIndex !== at) tab.tabIndex = at;
    }
  }
}

// A control that is hidden or switched off while it has the focus hands it to a button beside it that can be pressed,
// or else to the tab that is shown: Start leads to the run.
let last = null;
function remember(event) {
  last = event.target.closest?.('.tabtune-live') ? event.target : null;
}
function usable(control) {
  return control.isConnected && control.checkVisibility() && !control.disabled;
}
function hold() {
  if (!last || document.activeElement !== document.body || usable(last)) return;
  const beside = [...(last.parentElement?.querySelectorAll(':scope > button') ?? [])].find(usable);
  const view = last.closest('.tabtune-live') ?? document.querySelector('.tabtune-live');
  last = null;
  (beside ?? view?.querySelector('.lm-TabBar-tab.lm-mod-current'))?.focus({ preventScroll: true });
}

// Keys without Ctrl, Alt or Meta belong to the view where they are pressed; the others are JupyterLab's as everywhere.
function keep(event) {
  const view = event.target.closest?.('.tabtune-live');
  if (view) view.toggleAttribute('data-lm-suppress-shortcuts', !(event.ctrlKey || event.altKey || event.metaKey));
}

function initialize({ model }) {
  if (model.get('shown')) setTimeout(() => model.send('again'), 3000);  // a page that was loaded again may have missed what changed meanwhile
  else { model.set('shown', true); model.save_changes(); }
  if (document.body.dataset.tabtuneNames) return;
  document.body.dataset.tabtuneNames = 'yes';
  if (!document.documentElement.lang) document.documentElement.lang = 'en';
  window.addEventListener('keydown', keep, true);
  for (const kind of ['focusin', 'pointerdown']) window.addEventListener(kind, remember, true);
  let waits = false;
  new MutationObserver(() => {
    if (waits) return;
    waits = true;
    setTimeout(() => { waits = false; hold(); complete(); }, 300);
  }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ['class', 'style', 'disabled'] });
  complete();
}

export default { initialize };
