#include "model/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "safetyclf/error.hpp"

namespace safetyclf::model {
namespace {

class Descriptor {
public:
    // O_NONBLOCK: opening a named pipe must fail below as "not a regular file" and not wait for a writer.
    explicit Descriptor(const std::string& path)
        : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    [[nodiscard]] int get() const { return fd_; }

private:
    int fd_;
};

[[noreturn]] void fail_with_errno(const char* what) {
    throw Error(ErrorCode::model_io, std::string(what) + ": " + std::generic_category().message(errno));
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
    if (path.find('\0') != std::string::npos)
        throw Error(ErrorCode::model_io, "the path contains a NUL byte");
    const Descriptor file(path);
    if (file.get() < 0) fail_with_errno("cannot open the file");
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) fail_with_errno("cannot read the file's size");
    if (S_ISDIR(status.st_mode)) throw Error(ErrorCode::model_io, "is a directory, not a model file");
    if (!S_ISREG(status.st_mode)) throw Error(ErrorCode::model_io, "is not a regular file");
    if (status.st_size == 0) throw Error(ErrorCode::model_format, "the file is empty");
    const auto size = static_cast<std::size_t>(status.st_size);
    void* const start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file.get(), 0);
    if (start == MAP_FAILED) fail_with_errno("cannot map the file");
    bytes_ = {static_cast<const std::byte*>(start), size};
}

MappedFile::~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release(std::span<const std::byte> part) const {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const auto offset = static_cast<std::size_t>(part.data() - bytes_.data());
    const std::size_t begin = (offset + page - 1) / page * page;
    const std::size_t end = (offset + part.size()) / page * page;
    if (begin < end) {
        // Only a hint: when it fails the pages stay.
        (void)::madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
    }
}

}  // namespace safetyclf::model
