// Curves of a run, drawn by uPlot (which stands above this text, see `live_plots` in nbs/widgets). Numbers arrive as float32.
const numbers = v => Array.from(new Float32Array(v.buffer.slice(v.byteOffset, v.byteOffset + v.byteLength)), y => Number.isFinite(y) ? y : null);
const ink = (el, name, fallback) => getComputedStyle(el).getPropertyValue(name).trim() || fallback;

function smoothed(values, n) {
  const out = [], last = [];
  for (const v of values) {
    if (v != null) last.push(v);
    if (last.length > n) last.shift();
    out.push(last.length ? last.reduce((a, b) => a + b) / last.length : null);
  }
  return out;
}

function short(v) {
  if (v == null) return '–';
  const a = Math.abs(v);
  return v == 0 ? '0' : a >= 1e4 || a < 1e-3 ? v.toExponential(1) : String(+v.toPrecision(4));
}

// x and one column for each line of a panel: lines may have steps of their own
function table(panel, data, smooth) {
  const parts = panel.lines.filter(line => data[line.y]).map(line => {
    const x = numbers(data[line.x]), y = numbers(data[line.y]);
    return [x, line.smooth ? smoothed(y, smooth) : y];
  });
  return parts.length ? uPlot.join(parts) : [[], ...panel.lines.map(() => [])];
}

function draw(panel, lines, el, values, log, size) {
  const text = () => ink(el, '--jp-ui-font-color1', '#333'), grid = () => ink(el, '--jp-border-color2', '#ddd');
  const axis = (label, small) => ({ stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, font: '11px sans-serif', label: small ? undefined : label,
                           labelFont: '12px sans-serif', labelSize: 18, labelGap: 0, size: label == 'step' ? 28 : 52, values: (u, s) => s.map(short) });
  const series = lines.map(l => ({ label: l.label, stroke: l.colour, width: l.width || 1.5, dash: l.dash ? [5, 4] : undefined, spanGaps: true,
                                   points: { show: !!l.points, size: 6 }, alpha: l.alpha || 1, value: (u, v) => short(v) }));
  const plot = new uPlot({
    ...size, series: [{ label: 'step', value: (u, v) => v == null ? '–' : Math.round(v) }, ...series],
    scales: { x: { time: false }, y: log ? { distr: 3 } : panel.zero ? { range: (u, a, b) => [0, b > 0 ? 1.1 * b : 1] } : {} },
    axes: [axis('step', panel.zero), axis(panel.label, panel.zero)], hooks: { setSelect: [u => { u.zoomed = u.select.width > 0; }] }, cursor: { sync: { key: el.dataset.sync }, drag: { x: true, y: true, uni: 20 } },
  }, values, el);
  plot.over.addEventListener('dblclick', () => { plot.zoomed = false; });
  return plot;
}


// New numbers; what a reader has zoomed into stays.
function renew(plot, values) {
  plot.setData(values, !plot.zoomed);
  if (plot.zoomed) plot.redraw();
}

// Where a view stands in the notebook (JupyterLab): [outputs, position]
function find(model) {
  const id = model.get('view_id'), cells = model.widget_manager?.context?.model?.cells;
  for (let i = 0; id && cells && i < cells.length; i++) {
    const outputs = cells.get(i).outputs;
    for (let j = 0; outputs && j < outputs.length; j++)
      if (outputs.get(j).data['application/vnd.jupyter.widget-view+json']?.model_id == id) return [outputs, j];
  }
}

const output = data => ({ output_type: 'display_data', data, metadata: {} });

// After a reload the page knows the kernel's views again, but not the outputs of running cells: here the copy that stays gets there.
function deliver(model) {
  const copy = model.get('copy'), [outputs, j] = find(model) || [];
  if (!outputs || !copy['text/html']) return;
  const kept = j + 1 < outputs.length && String(outputs.get(j + 1).data['text/html']);
  if (kept && kept.includes('tabtune-copy') && kept != copy['text/html']) outputs.set(j + 1, output(copy));
  if (model.get('over')) outputs.set(j, output({ 'text/html': model.get('live')['text/html'] }));
}

// A page that was loaded again while a cell holds the kernel: its own questions wait for the end of the cell, so the kernel has sent the view.
async function revive(model) {
  const manager = model.widget_manager, id = model.get('view_id');
  for (let i = 0; i < 100 && !manager.has_model(id); i++) await new Promise(f => setTimeout(f, 100));
  await answerBeside(await manager.get_model(id), manager.kernel);
  model.send('here');
  const live = output(model.get('live')), [outputs, j] = find(model) || [];
  if (outputs) { outputs.set(j, output({ 'text/plain': '' })); outputs.set(j, live); return; }
  const cells = manager.context?.model?.cells;
  for (let i = 0; cells && i < cells.length; i++)
    if (cells.get(i).id == model.get('cell_id')) { cells.get(i).outputs.add(live); cells.get(i).outputs.add(output(model.get('copy'))); }
}

// The messages of a view, and of all that it holds, go to a subshell of the kernel, which answers while the main one is busy.
async function answerBeside(view, kernel) {
  if (!kernel?.sendControlMessage) return;
  const header = { msg_id: Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, '0')).join(''), msg_type: 'create_subshell_request',
                   session: kernel.clientId, username: kernel.username, version: '5.5', date: new Date().toISOString() };
  const reply = await kernel.sendControlMessage({ header, parent_header: {}, metadata: {}, content: {}, channel: 'control', buffers: [] }, true).done;
  const send = part => {
    const comm = part.comm?.jsServicesComm;
    if (comm) comm._subshellId = reply.content.subshell_id;
    for (const child of part.get('children') || []) send(child);
  };
  send(view);
}

// Says that this page can draw, until it is heard, and from time to time that it is still there; a page that can't load this file never says so, and keeps its plain picture.
function initialize({ model }) {
  const announce = left => { if (left && !model.get('ready')) { model.send('ready'); setTimeout(announce, 1000, left - 1); } };
  announce(60);
  const report = () => { model.send('here'); if (document.hidden) setTimeout(() => document.hidden && model.send('hidden'), 2000); };  // a hidden page has slow clocks
  const clock = setInterval(() => document.hidden || report(), 4000);
  document.addEventListener('visibilitychange', report);
  model.on('change:copy', () => deliver(model));
  model.on('change:over', () => deliver(model));
  if (model.get('again')) revive(model); else deliver(model);
  return () => { clearInterval(clock); document.removeEventListener('visibilitychange', report); };
}

function render({ model, el }) {
  const id = 'tabtune' + Math.random().toString(36).slice(2), plots = [];
  el.classList.add('tabtune-plots');
  el.innerHTML = `<div class="tabtune-controls"><label><input type="checkbox"> log axis of the loss</label>
    <label>smoothing <input type="range" min="1" max="100" step="1"> <output></output></label><button type="button">Reset zoom</button>
    <span>drag to zoom, double click to reset</span></div><div class="tabtune-grid"></div>`;
  const [log, smooth] = el.querySelectorAll('input'), amount = el.querySelector('output'), grid = el.querySelector('.tabtune-grid');
  smooth.value = model.get('smooth');
  const shown = () => { amount.textContent = smooth.value == 1 ? 'off' : `${smooth.value} points`; };
  const lines = panel => panel.lines.filter(line => model.get('data')[line.y]);
  const key = () => JSON.stringify(model.get('panels').map(p => [p.label, ...lines(p).map(l => l.y)])) + log.checked + model.get('width');

  let made = '';
  function make() {
    plots.splice(0).forEach(p => p.destroy()); grid.replaceChildren(); made = key();
    model.get('panels').forEach((panel, i) => {
      const box = grid.appendChild(document.createElement('div')), wide = grid.clientWidth || 900;
      box.className = i ? 'tabtune-small' : 'tabtune-large'; box.dataset.sync = id; box.setAttribute('role', 'group'); box.setAttribute('aria-label', `${panel.label} by step`);
      const title = box.appendChild(document.createElement('div')); title.className = 'tabtune-title'; title.textContent = i ? panel.label : '';
      const w = Math.max(150, Math.floor(i ? wide * 0.25 : wide * 0.5) - 6), size = { width: w, height: i ? 112 : 286 };
      plots.push(draw(panel, lines(panel), box, table(panel, model.get('data'), +smooth.value), log.checked && i == 0, size));
      const canvas = box.querySelector('canvas'); canvas.setAttribute('role', 'img'); canvas.setAttribute('aria-label', `${panel.label} by step`);
    });
    describe();
  }
  function describe() { grid.querySelectorAll('canvas').forEach((c, i) => c.setAttribute('aria-label', `${model.get('panels')[i].label} by step. ${i ? '' : model.get('description')}`.trim())); }
  function update() {
    shown();
    if (made != key()) return make();
    model.get('panels').forEach((panel, i) => renew(plots[i], table(panel, model.get('data'), +smooth.value)));
    describe();
  }
  const redraw = () => plots.forEach(p => p.redraw(false, true));
  model.on('change:data', update);
  log.addEventListener('change', update);
  smooth.addEventListener('input', update);
  el.querySelector('button').addEventListener('click', () => plots.forEach(p => { p.zoomed = false; p.setData(p.data); }));
  const themes = new MutationObserver(redraw), sizes = new ResizeObserver(() => { if (grid.clientWidth && Math.abs(grid.clientWidth - width) > 8) { width = grid.clientWidth; make(); } });
  let width = 0;
  themes.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-light', 'class'] });
  sizes.observe(grid);
  shown();
  return () => { themes.disconnect(); sizes.disconnect(); model.off('change:data', update); plots.splice(0).forEach(p => p.destroy()); };
}

export default { initialize, render };
