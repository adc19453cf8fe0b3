package shop;

import jakarta.persistence.*;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.data.domain.PageRequest;
import org.springframework.data.domain.Pageable;
import org.springframework.data.jpa.repository.JpaRepository;
import org.springframework.data.jpa.repository.Query;
import org.springframework.transaction.annotation.Transactional;
import org.springframework.web.bind.annotation.*;

/** A bookshop on Spring Boot and JPA, with nothing about tracing in it: it runs under the OpenTelemetry Java agent. */
@SpringBootApplication
public class Bookshop {
    public static void main(String[] arguments) {
        SpringApplication.run(Bookshop.class, arguments);
    }
}

@Entity
@Table(name = "author")
class Author {
    @Id Integer id;
    private String name;

    public String getName() {
        return name;
    }
}

@Entity
@Table(name = "book")
class Book {
    @Id Integer id;
    String title;

    @ManyToOne(fetch = FetchType.LAZY)
    @JoinColumn(name = "author_id")
    Author author;
}

@Entity
@Table(name = "orders")
class BookOrder {
    @Id Integer id;
    String email;
}

interface Books extends JpaRepository<Book, Integer> {
    @Query("select b from Book b order by b.id")
    List<Book> page(Pageable page);

    @Query("select b from Book b join fetch b.author where b.id = :id")
    Book withAuthor(Integer id);
}

interface Orders extends JpaRepository<BookOrder, Integer> {
    List<BookOrder> findByEmailOrderById(String email);
}

@RestController
class Pages {
    private final Books books;
    private final Orders orders;
    private final HttpClient partner = HttpClient.newHttpClient();

    Pages(Books books, Orders orders) {
        this.books = books;
        this.orders = orders;
    }

    /** One statement for the books, then one for each author. */
    @GetMapping("/books")
    @Transactional(readOnly = true)
    public List<Map<String, String>> books(@RequestParam int page) {
        return books.page(PageRequest.of(page % 6, 300)).stream()
                .map(book -> Map.of("title", book.title, "author", book.author.getName()))
                .toList();
    }

    /** orders.email has no index. */
    @GetMapping("/orders")
    public List<Integer> orders(@RequestParam int reader) {
        return orders.findByEmailOrderById("reader" + reader + "@example.org").stream().map(order -> order.id).toList();
    }

    /** What a partner asks for it: the waiting is somebody else's. */
    @GetMapping("/quote/{id}")
    public String quote(@PathVariable int id) throws Exception {
        URI uri = URI.create(System.getenv("SHOP_PARTNER_URL") + "/shipping/" + id);
        HttpRequest request = HttpRequest.newBuilder(uri).version(HttpClient.Version.HTTP_1_1).build();
        return partner.send(request, HttpResponse.BodyHandlers.ofString()).body();
    }

    /** Found the slow way. */
    @GetMapping("/discount/{id}")
    public Map<String, Integer> discount(@PathVariable int id) {
        BigInteger seed = BigInteger.valueOf(id);
        int best = 0;
        for (int step = 0; step < 150_000; step++) {
            seed = seed.multiply(BigInteger.valueOf(1103515245)).add(BigInteger.valueOf(12345)).and(BigInteger.valueOf(0x7fffffff));
            best = Math.max(best, seed.mod(BigInteger.valueOf(1000)).intValue() - step % 7);
        }
        return Map.of("book", id, "discount", best);
    }

    /** One row by its key. */
    @GetMapping("/book/{id}")
    public Map<String, String> book(@PathVariable int id) {
        Book book = books.withAuthor(id);
        return Map.of("title", book.title, "author", book.author.getName());
    }
}
