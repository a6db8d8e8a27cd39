// A button that sends a file in parts, each after the kernel has taken the one before: a web socket of Jupyter takes 10 MiB at once.
const PART = 4 * 2 ** 20;

function initialize({ model }) {
  if (model.get('ready')) return;
  model.set('ready', true);
  model.save_changes();
}

function render({ model, el }) {
  const button = el.appendChild(document.createElement('button')), input = document.createElement('input');
  const icon = document.createElement('i'), text = document.createTextNode('');
  let file = null;
  const say = words => { text.nodeValue = ' ' + words; };
  async function send(at) {
    const buffers = file.size > model.get('most') ? [] : [await file.slice(at, at + PART).arrayBuffer()];
    model.send({ name: file.name, size: file.size, at }, undefined, buffers);
  }
  function answered({ next }) {
    if (!file) return;
    if (next < file.size) { say(`sending ${Math.floor(100 * next / file.size)} %`); send(next); return; }
    file = null;
    say(model.get('text'));
  }
  button.type = 'button';
  button.className = 'jupyter-widgets jupyter-button widget-button';
  button.style.width = 'auto';
  button.title = model.get('about');
  icon.className = 'fa fa-upload';
  icon.setAttribute('aria-hidden', 'true');
  button.append(icon, text);
  say(model.get('text'));
  input.type = 'file';
  input.accept = model.get('accept');
  button.addEventListener('click', () => { input.value = ''; input.click(); });
  input.addEventListener('change', () => {
    file = input.files[0] ?? null;
    if (!file) return;
    say('sending 0 %');
    send(0);
  });
  model.on('msg:custom', answered);
  return () => model.off('msg:custom', answered);
}

export default { initialize, render };
