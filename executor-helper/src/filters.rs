//! System call filters, compiled once at start and handed to each keeper in its plan. filters.json is the list to read.

use seccompiler::{BpfProgram, TargetArch, compile_from_json, sock_filter};

use crate::plan::Filter;

const LISTS: &str = include_str!("filters.json");
// x32 gives the calls of x86-64 other numbers, which the lists do not have: ENOSYS for all of them, as where a kernel has none.
// Load the number, and return unless it has bit 30.
const NO_X32: [(u16, u8, u8, u32); 3] = [(0x20, 0, 0, 0), (0x35, 0, 1, 0x4000_0000), (0x06, 0, 0, 0x5_0026)];

/// All filters.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// Over a job: what no job needs is refused with EPERM. clone3 hides its flags from a filter: ENOSYS makes the C library use
    /// clone, whose flags the other filter sees.
    pub job: Vec<Filter>,
    /// Over a keeper: a dozen calls; anything else kills it.
    pub keeper: Filter,
}

impl Filters {
    /// Compiles them for this machine.
    pub fn compile() -> Result<Self, String> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
        let compile = |text: &str| compile_from_json(text.as_bytes(), arch).map_err(|e| e.to_string());
        let mut lists = compile(LISTS)?;
        let mut take = |name: &str| lists.remove(name).map(plain).ok_or(format!("filters.json has no '{name}'"));
        let mut job = vec![take("job")?, take("job_clone3")?];
        if arch == TargetArch::x86_64 {
            let old = compile(include_str!("filters-x86_64.json"))?.into_values();
            job.extend(old.map(|program| [NO_X32.to_vec(), plain(program)].concat()));
        }
        Ok(Self { job, keeper: take("keeper")? })
    }
}

fn plain(program: BpfProgram) -> Filter {
    program.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect()
}

/// Lays a filter over this process, which gives up new privileges for it.
pub fn install(filter: &Filter) -> Result<(), rustix::io::Errno> {
    let program: BpfProgram = filter.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect();
    // An empty one is refused by the kernel, not taken for none.
    seccompiler::apply_filter(&program).map_err(|_| rustix::io::Errno::ACCESS)
}

#[cfg(test)]
mod tests;
