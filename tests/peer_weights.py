"""Random weights of a peer, made by its package's own classes, for the tests; run by the interpreter of that package:

    python tests/peer_weights.py TabICL classification weights.ckpt      (prints the number of parameters)
"""
import json, sys
from dataclasses import asdict
from importlib import import_module

def awake(model):
    "Layers that start at zero would predict the same for every row."
    for w in model.parameters():
        if not w.any(): torch.nn.init.normal_(w, std=0.2)
    return model

def tabicl(path, task):
    from tabicl._model.tabicl import TabICL
    config = dict(max_classes=10 if task == 'classification' else 0, num_quantiles=9, embed_dim=16, col_num_blocks=1, col_nhead=2, col_num_inds=4,
                  row_num_blocks=1, row_nhead=2, row_num_cls=2, icl_num_blocks=1, icl_nhead=2, zero_init=False)
    model = TabICL(**config)
    torch.save(dict(config=config, state_dict=model.state_dict()), path)
    return model

def tabdpt(path, task):
    from safetensors.torch import save_file
    from tabdpt.model import TabDPTModel
    c = dict(enc_cell_dim=8, max_num_classes=10, regression_bin_count=16, regression_bin_min=-3., regression_bin_max=3., nhead=2, ff_dim=16, emsize=16,
             nlayers=1, max_num_features=8, min_eval_context=16, max_eval_context=64, y_encoder_dim=8, num_col_attn_layers=1, n_thinking_rows=2)
    names = dict(max_num_classes='n_out', ff_dim='nhid', emsize='ninp', max_num_features='num_features', min_eval_context='base_len',
                 max_eval_context='max_len')
    model = TabDPTModel(dropout=0., use_flash=False, **{names.get(k, k): v for k, v in c.items()})
    meta = dict(cfg=json.dumps(dict(training=dict(dropout=0.), env=dict(device='cpu'), model=c)))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path, metadata=meta)
    return model

def tabpfn(path, task):
    from tabpfn.architectures import tabpfn_v2_6 as v
    from tabpfn.architectures.shared.bar_distribution import FullSupportBarDistribution
    classes = dict(max_num_classes=10 if task == 'classification' else 0)
    config, _ = v.parse_config(dict(emsize=16, nlayers=1, nhead=2, num_thinking_rows=2, encoder_mlp_hidden_dim=16, num_buckets=20) | classes)
    model = awake(v.get_architecture(config))
    state = dict(model.state_dict())
    if task == 'regression':
        bars = FullSupportBarDistribution(torch.linspace(-3, 3, 21), ignore_nan_targets=True)
        state |= {f'criterion.{k}': t for k, t in bars.state_dict().items()}
    torch.save(dict(state_dict=state, config=asdict(config), architecture_name='tabpfn_v2_6'), path)
    return model

def orion(package, cls):
    def make(path, task):
        config = dict(max_classes=10, embed_dim=16, col_num_blocks=1, col_nhead=2, col_num_inds=4, row_num_blocks=1, row_nhead=2, row_num_cls=2,
                      icl_num_blocks=1, icl_nhead=2)
        model = awake(getattr(import_module(f'tabtune.models.{package}.model.{package}'), cls)(**config))
        torch.save(dict(config=config, state_dict=model.state_dict()), path)
        return model
    return make

WEIGHTS = dict(TabICL=tabicl, TabDPT=tabdpt, TabPFN=tabpfn, OrionMSP=orion('orion_msp', 'OrionMSP'), OrionBix=orion('orion_bix', 'OrionBix'))

if __name__ == '__main__':
    import torch
    name, task, path = sys.argv[1:]
    torch.manual_seed(0)
    print(sum(p.numel() for p in WEIGHTS[name](path, task).parameters()))
