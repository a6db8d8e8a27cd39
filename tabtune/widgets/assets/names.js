// What ipywidgets leaves out for those who use a keyboard or a screen reader: names of slider handles, and a stop at what scrolls.
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

function initialize() {
  if (document.body.dataset.tabtuneNames) return;
  document.body.dataset.tabtuneNames = 'yes';
  let waits = false;
  new MutationObserver(() => {
    if (waits) return;
    waits = true;
    setTimeout(() => { waits = false; complete(); }, 300);
  }).observe(document.body, { childList: true, subtree: true });
  complete();
}

export default { initialize };
