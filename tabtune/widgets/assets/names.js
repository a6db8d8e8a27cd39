// What ipywidgets leaves out for those who use a keyboard or a screen reader: names of slider handles, a stop at what
// scrolls, and keys that stay in a view (in command mode the letter X on a menu would cut the cell).
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
}

// Keys without Ctrl, Alt or Meta belong to the view where they are pressed; the others are JupyterLab's as everywhere.
function keep(event) {
  const view = event.target.closest?.('.tabtune-live');
  if (view) view.toggleAttribute('data-lm-suppress-shortcuts', !(event.ctrlKey || event.altKey || event.metaKey));
}

function initialize() {
  if (document.body.dataset.tabtuneNames) return;
  document.body.dataset.tabtuneNames = 'yes';
  if (!document.documentElement.lang) document.documentElement.lang = 'en';
  window.addEventListener('keydown', keep, true);
  let waits = false;
  new MutationObserver(() => {
    if (waits) return;
    waits = true;
    setTimeout(() => { waits = false; complete(); }, 300);
  }).observe(document.body, { childList: true, subtree: true });
  complete();
}

export default { initialize };
