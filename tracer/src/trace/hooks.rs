//! What tells of each operation on a kernel, and what to attach where.
//!
//! Which functions exist, which are inlined into which, and which have type information
//! differs from kernel to kernel; the book's chapter on tracing has the table.

use serde::Serialize;
use virtscope_record::Kind;

use crate::btf::{Home, KernelBtf};
use crate::kallsyms::Symbols;

/// What a hook tells of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Adds, with those that fail.
    Add,
    /// Kick decisions.
    Kick,
    /// Notifications of the device.
    Notify,
    /// Callbacks.
    Callback,
    /// Used buffers taken back, and unused ones at shutdown.
    Used,
    /// Callbacks switched off.
    CallbacksDisabled,
    /// Callbacks switched on.
    CallbacksEnabled,
    /// Queues that end or begin anew.
    Reset,
}

impl Operation {
    /// Every one there is.
    pub const ALL: [Self; 8] = [
        Self::Add,
        Self::Kick,
        Self::Notify,
        Self::Callback,
        Self::Used,
        Self::CallbacksDisabled,
        Self::CallbacksEnabled,
        Self::Reset,
    ];

    /// The kind of its records.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Add => Kind::Add,
            Self::Kick => Kind::Kick,
            Self::Notify => Kind::Notify,
            Self::Callback => Kind::Callback,
            Self::Used => Kind::Used,
            Self::CallbacksDisabled => Kind::CallbacksDisabled,
            Self::CallbacksEnabled => Kind::CallbacksEnabled,
            Self::Reset => Kind::Reset,
        }
    }

    /// Whether a request's life can't be told without it.
    pub const fn is_needed(self) -> bool {
        matches!(self, Self::Add | Self::Kick | Self::Callback | Self::Used)
    }
}

/// A function of the kernel that tells of an operation, and the programs for it.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Linux' name of it.
    pub function: &'static str,
    /// What it tells of.
    pub operation: Operation,
    /// Whether the programs run at its return.
    at_return: bool,
    /// The programs to attach by fentry or fexit: the second is a copy for when the
    /// kernel skips the first.
    copies: &'static [&'static str],
    /// The program to attach by kprobe.
    kprobe: &'static str,
    /// The program to attach by kretprobe, if it runs at the return.
    kretprobe: Option<&'static str>,
    /// Functions that call this one; where they are there, and this one is, these are not
    /// hooked.
    instead_of: &'static [&'static str],
}

macro_rules! hook {
    ($function:literal, $operation:ident, entry [$($copy:literal),+], $kprobe:literal) => {
        Hook {
            function: $function,
            operation: Operation::$operation,
            at_return: false,
            copies: &[$($copy),+],
            kprobe: $kprobe,
            kretprobe: None,
            instead_of: &[],
        }
    };
    (
        $function:literal, $operation:ident, return [$($copy:literal),+], $kprobe:literal,
        $kretprobe:literal $(, instead of $caller:literal)?
    ) => {
        Hook {
            function: $function,
            operation: Operation::$operation,
            at_return: true,
            copies: &[$($copy),+],
            kprobe: $kprobe,
            kretprobe: Some($kretprobe),
            instead_of: &[$($caller)?],
        }
    };
}

/// See [`Hook::ALL`].
const HOOKS: &[Hook] = &[
    hook!(
        "virtqueue_add_sgs",
        Add,
        return ["add_sgs_a", "add_sgs_b"],
        "add_sgs_k",
        "added_r"
    ),
    hook!(
        "virtqueue_add_outbuf",
        Add,
        return ["add_out_a", "add_out_b"],
        "add_out_k",
        "added_r"
    ),
    hook!(
        "virtqueue_add_inbuf",
        Add,
        return ["add_in_a", "add_in_b"],
        "add_in_k",
        "added_r"
    ),
    hook!(
        "virtqueue_add_inbuf_ctx",
        Add,
        return ["add_in_ctx_a", "add_in_ctx_b"],
        "add_in_ctx_k",
        "added_r"
    ),
    hook!(
        "virtqueue_add_outbuf_premapped",
        Add,
        return ["add_out_p_a", "add_out_p_b"],
        "add_out_k",
        "added_r"
    ),
    hook!(
        "virtqueue_add_inbuf_premapped",
        Add,
        return ["add_in_p_a", "add_in_p_b"],
        "add_in_ctx_k",
        "added_r"
    ),
    hook!(
        "virtqueue_add_inbuf_cache_clean",
        Add,
        return ["add_in_c_a", "add_in_c_b"],
        "add_in_k",
        "added_r"
    ),
    hook!("virtqueue_kick_prepare_split", Kick, return ["kicked_s_a", "kicked_s_b"], "keep_k", "kicked_r", instead of "virtqueue_kick_prepare"),
    hook!("virtqueue_kick_prepare_packed", Kick, return ["kicked_p_a", "kicked_p_b"], "keep_k", "kicked_r", instead of "virtqueue_kick_prepare"),
    hook!(
        "virtqueue_kick_prepare",
        Kick,
        return ["kicked_s_a", "kicked_s_b"],
        "keep_k",
        "kicked_r"
    ),
    hook!("vp_notify", Notify, entry["notified_1_a", "notified_1_b"], "notified_k"),
    hook!(
        "vp_notify_with_data",
        Notify,
        entry["notified_2_a", "notified_2_b"],
        "notified_k"
    ),
    hook!("vm_notify", Notify, entry["notified_3_a", "notified_3_b"], "notified_k"),
    hook!(
        "vm_notify_with_data",
        Notify,
        entry["notified_4_a", "notified_4_b"],
        "notified_k"
    ),
    hook!(
        "vring_interrupt",
        Callback,
        entry["interrupted_a"],
        "interrupted_k"
    ),
    hook!("detach_buf_split", Used, entry ["detached_s_a", "detached_s_b"], "detached_k"),
    hook!("detach_buf_packed", Used, entry ["detached_p_a", "detached_p_b"], "detached_k"),
    hook!("detach_buf_split_in_order", Used, entry ["detached_so_a", "detached_so_b"], "detached_k"),
    hook!("detach_buf_packed_in_order", Used, entry ["detached_po_a", "detached_po_b"], "detached_k"),
    hook!(
        "virtqueue_disable_cb",
        CallbacksDisabled,
        return ["disabled_a", "disabled_b"],
        "keep_k",
        "disabled_r"
    ),
    hook!(
        "virtqueue_enable_cb_prepare",
        CallbacksEnabled,
        return ["prepared_a", "prepared_b"],
        "keep_k",
        "prepared_r"
    ),
    hook!(
        "virtqueue_enable_cb",
        CallbacksEnabled,
        return ["enabled_a", "enabled_b"],
        "keep_enabling_k",
        "enabled_r"
    ),
    hook!(
        "virtqueue_enable_cb_delayed",
        CallbacksEnabled,
        return ["delayed_a", "delayed_b"],
        "keep_k",
        "enabled_r"
    ),
    hook!(
        "vring_del_virtqueue",
        Reset,
        entry["deleted_a"],
        "deleted_k"
    ),
    hook!(
        "virtqueue_resize",
        Reset,
        return ["restarted_1"],
        "keep_restarting_k",
        "restarted_r"
    ),
    hook!(
        "virtqueue_reset",
        Reset,
        return ["restarted_2"],
        "keep_restarting_k",
        "restarted_r"
    ),
];

/// Functions whose entry is needed beside their return, with the programs for it by fentry.
const ENTRIES: [(&str, &[&str]); 3] = [
    ("virtqueue_enable_cb", &["enabling_a", "enabling_b"]),
    ("virtqueue_resize", &["restarting_1"]),
    ("virtqueue_reset", &["restarting_2"]),
];

/// How a program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// By fentry.
    Fentry,
    /// By fexit.
    Fexit,
    /// By kprobe.
    Kprobe,
    /// By kretprobe.
    Kretprobe,
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
        })
    }
}

/// One program at one function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The kernel's function.
    pub function: &'static str,
    /// What it tells of.
    pub operation: Operation,
    /// How it is attached.
    pub how: How,
    /// The program in the object.
    pub program: &'static str,
}

impl Attachment {
    /// Whether it is by kprobe or kretprobe, of which the kernel skips some.
    pub fn by_kprobe(&self) -> bool {
        matches!(self.how, How::Kprobe | How::Kretprobe)
    }
}

/// What is attached where on one kernel.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The programs.
    pub attachments: Vec<Attachment>,
    /// Operations that nothing tells of here.
    pub missing: Vec<Operation>,
}

impl Plan {
    /// The plan for the kernel that `btf` and `symbols` describe. With `kprobes_only` no
    /// fentry and no fexit is planned.
    pub fn new(btf: &KernelBtf, symbols: &Symbols, kprobes_only: bool) -> Self {
        let home = |function: &str| btf.function(function);
        let is_there = |function: &str| home(function).is_some() || symbols.contains(function);
        let mut attachments = Vec::new();
        for hook in Hook::of_kernel_with(is_there) {
            // Type information of modules cannot be attached by.
            let traced = !kprobes_only && home(hook.function) == Some(Home::Vmlinux);
            hook.attach(traced, &mut attachments);
        }
        let missing = Operation::ALL
            .into_iter()
            .filter(|operation| !attachments.iter().any(|each| each.operation == *operation))
            .collect();
        Self {
            attachments,
            missing,
        }
    }

    /// The functions that could have told of `operation`.
    pub fn functions(operation: Operation) -> impl Iterator<Item = &'static str> {
        HOOKS
            .iter()
            .filter(move |hook| hook.operation == operation)
            .map(|hook| hook.function)
    }
}

impl Hook {
    /// All functions of the kernels we know, from 6.1 on. Which of them a kernel has
    /// differs; what one of them does is seen at another where it was inlined.
    pub const ALL: &[Self] = HOOKS;

    /// Those that are hooked on a kernel which has the functions for which `is_there` holds.
    pub fn of_kernel_with(is_there: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static Self> {
        let is_replaced = move |hook: &Self| {
            let mut others = HOOKS.iter();
            !is_there(hook.function)
                || others.any(|other| {
                    other.instead_of.contains(&hook.function) && is_there(other.function)
                })
        };
        HOOKS.iter().filter(move |hook| !is_replaced(hook))
    }

    fn attach(&self, traced: bool, attachments: &mut Vec<Attachment>) {
        let mut add = |how, program| {
            attachments.push(Attachment {
                function: self.function,
                operation: self.operation,
                how,
                program,
            });
        };
        if traced {
            for (_, programs) in ENTRIES.iter().filter(|(name, _)| *name == self.function) {
                for program in *programs {
                    add(How::Fentry, program);
                }
            }
            let how = if self.at_return {
                How::Fexit
            } else {
                How::Fentry
            };
            for copy in self.copies {
                add(how, copy);
            }
        } else {
            // The return first: an entry without its return leaves something behind.
            if let Some(kretprobe) = self.kretprobe {
                add(How::Kretprobe, kretprobe);
            }
            add(How::Kprobe, self.kprobe);
        }
    }
}
